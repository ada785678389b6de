"""Stage `twin`: cycle several methods on the same truth and the same simulated observations, and score them.

Every cycle a network of random grid points, or of real stations, observes the truth with a known error. All methods get
the same numbers, the same ensemble size and the same scores: RMSE of the ensemble mean, CRPS (fair) and spread/skill
over all grid points, weighted by area, with intervals from a block bootstrap over cycles. Where channels have different
units the scores of all together are in climatological standard deviations; those of each channel are in its unit.
Beside them: the error of one step of the prior from the true past, without observations; with
`twin.forecast.hours`, what the analyses are worth as the start of forecasts in one model (`twin_forecast`); and with
`window.frames`, what later observations add to them (`twin_window`).
"""

__all__ = ["TwinResult", "twin", "units"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stormda import config as configuration
from stormda.assimilation.prior import Prior
from stormda.config import Config
from stormda.pipeline import build
from stormda.pipeline.cycling import Runs, Series, together
from stormda.pipeline.networks import describe
from stormda.pipeline.twin_forecast import Forecasts, leads, of_channel, spectra_of, summarise
from stormda.pipeline.twin_scores import interval, mean, ratio, root
from stormda.pipeline.twin_window import compare_windows
from stormda.pipeline.worlds import simulated_archive, world_config
from stormda.store.provenance import provenance
from stormda.store.publish import write_bytes, write_json
from stormda.time import hours
from stormda.types import Array, Progress, silent
from stormda.verification.forecasts import forecast_figure, spectra_figure
from stormda.verification.plots import rank_histogram, time_series

_BINS = "rank_counts"
_FIELDS = ("mse", "crps", "variance", "background_mse")
_REFERENCES = ("kf", "gaussian", "oi")  # the first that takes part is what the others are compared with


@dataclass(frozen=True)
class TwinResult:
    """Scores by method, and where the details are."""

    world: str
    network: str
    members: int
    scored: int
    scores: dict[str, dict[str, Any]]
    files: tuple[str, ...]
    model: str | None = None

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: all channels together, and each where there are several."""
        title = f"twin experiment: {self.world}, {self.network}, {self.members} members, {self.scored} analyses scored"
        scores = [
            "RMSE",
            "95 %",
            "CRPS",
            "95 %",
            "CRPS ratio",
            "95 %",
            "spread/skill",
            "background RMSE",
            "one-step RMSE",
        ]
        columns = ["method", "channel", *scores, "s/analysis"]
        if self.model is not None:
            title += f"; forecasts by the {self.model} model"
            hours = next(iter(self.scores.values()))["forecast"]["hours"]
            columns += [f"{score} +{hours[k]:g} h" for k in _shown(len(hours)) for score in ("RMSE", "CRPS")]
            columns += ["shock"]
        rows = []
        for method, s in self.scores.items():
            parts = {f"all [{s['unit']}]": s} | (s["channels"] if len(s["channels"]) > 1 else {})
            rows += [_row(method, name, part) for name, part in parts.items()]
            rows += [_row(f"{method} + {w['later']} later", f"all [{s['unit']}]", w) for w in s.get("window", [])]
        return title, columns, rows


def _row(method: str, channel: str, s: dict[str, Any]) -> list[str]:
    ratio, seconds = s.get("crps_ratio"), s.get("seconds")
    return [
        method,
        channel,
        f"{s['rmse']['value']:.4g}",
        f"{s['rmse']['low']:.4g}..{s['rmse']['high']:.4g}",
        f"{s['crps']['value']:.4g}",
        f"{s['crps']['low']:.4g}..{s['crps']['high']:.4g}",
        f"{ratio['value']:.3f}" if ratio else "",
        f"{ratio['low']:.3f}..{ratio['high']:.3f}" if ratio else "",
        f"{s['spread_skill']:.2f}",
        f"{s['background_rmse']:.4g}",
        f"{s['one_step_rmse']:.4g}" if "one_step_rmse" in s else "",
        f"{seconds:.2f}" if seconds is not None else "",
        *_forecast_row(s.get("forecast")),
    ]


def _forecast_row(f: dict[str, Any] | None) -> list[str]:
    """RMSE and CRPS at a few leads, and the shock of the first step."""
    if f is None:
        return []
    pairs = [(f["rmse"][k]["value"], f["crps"][k]["value"]) for k in _shown(len(f["hours"]))]
    return [f"{value:.4g}" for pair in pairs for value in pair] + [f"{f['shock']['value']:.2f}"]


def _shown(count: int) -> list[int]:
    """Numbers of the leads in the table: thirds of the way, without the analysis itself."""
    last = count - 1
    return sorted({k for k in (round(last / 3), round(2 * last / 3), last) if k > 0})


def twin(config: Config, *, dry_run: bool = False, progress: Progress = silent) -> TwinResult:
    """Run the experiment of the section `twin`.

    Writes `<run_dir>/twin/scores.json` and pictures beside it. Runs that are kept there are not repeated.

    Raises:
        ConfigError, InputError, InputMissing: a world, archive or prior that is not there or does not fit.
    """
    config = world_config(config)
    spec = config.twin
    described, further = describe(config), leads(config) > 0
    scored = (spec.cycles - spec.spin_up) * len(spec.seeds)
    if dry_run:
        return TwinResult(spec.world.kind, described, config.assimilate.ensemble, scored, {}, ())
    if spec.world.kind != "archive":
        simulated_archive(config, progress)
    folder = config.run / "twin"
    runs = Runs(folder / "series", progress)
    series: dict[str, list[Series]] = {method: [] for method in spec.methods}
    forecasts: dict[str, list[Forecasts]] = {method: [] for method in spec.methods if further}
    for seed in spec.seeds:
        for method in spec.methods:
            if further:
                forecasts[method].append(runs.forecasts(config, method, seed))
            series[method].append(runs(config, method, seed))
    prior = runs.prior(config, spec.methods[0])
    scores = _compare(series, spec.spin_up, prior)
    if further:
        _add_forecasts(scores, forecasts, prior, hours(config.assimilate.step))
    files = _publish(config, folder, series, scores, units(prior)[0])
    if further:
        files += _draw(config, folder, scores, forecasts)
    model = ("nature" if build.nature(config) else "linear") if further else None
    return TwinResult(spec.world.kind, described, config.assimilate.ensemble, scored, scores, files, model)


def _add_forecasts(
    scores: dict[str, dict[str, Any]], forecasts: dict[str, list[Forecasts]], prior: Prior, step: float
) -> None:
    """Scores of forecasts beside those of the analyses: of all channels together, and of each."""
    scale = units(prior)[0]
    for method, runs in forecasts.items():
        scores[method]["forecast"] = summarise(runs, scale, step)
        for i, part in enumerate(scores[method]["channels"].values()):
            part["forecast"] = summarise([of_channel(run, i) for run in runs], np.ones(1), step)


def _draw(
    config: Config, folder: Path, scores: dict[str, dict[str, Any]], forecasts: dict[str, list[Forecasts]]
) -> tuple[str, ...]:
    """Pictures of the forecasts, and their scores and spectra as JSON."""
    spectra = {method: spectra_of(runs) for method, runs in forecasts.items()}
    tree = {method: s["forecast"] for method, s in scores.items()}
    facts = provenance(configuration.dump(config))
    write_json(folder / "forecast.json", {"forecasts": tree, "spectra": spectra, "provenance": facts})
    write_bytes(folder / "forecast.png", forecast_figure(tree, next(iter(scores.values()))["unit"]))
    write_bytes(folder / "spectra.png", spectra_figure(tree, spectra))
    return tuple(str(folder / name) for name in ("forecast.json", "forecast.png", "spectra.png"))


def units(prior: Prior) -> tuple[Array, str]:
    """What the scores of all channels together are divided by [C], and their unit."""
    found = {c.info.unit for c in prior.channels}
    if len(found) == 1:
        return np.ones(len(prior.channels)), found.pop()
    return np.asarray(prior.normaliser.sd), "climatological sd"


def _compare(series: dict[str, list[Series]], spin_up: int, prior: Prior) -> dict[str, dict[str, Any]]:
    """Scores of every method: of all channels together, of each, and the CRPS beside that of the reference."""
    scale, unit = units(prior)
    reference = next((name for name in _REFERENCES if name in series), None)
    scores = {}
    for method, runs in series.items():
        arrays = {name: np.concatenate([getattr(r, name)[spin_up:] for r in runs]) for name in _FIELDS}
        found: dict[str, Any] = _summarise(arrays, scale) | {"unit": unit}
        found["channels"] = {
            c.name: _summarise({name: f[:, i : i + 1] for name, f in arrays.items()}, np.ones(1))
            for i, c in enumerate(prior.channels)
        }
        if reference is not None and method != reference:
            pair = np.stack([together(series[name], "crps", spin_up, scale) for name in (method, reference)], axis=1)
            found["crps_ratio"] = {"to": reference, **interval(pair, ratio)}
        if any(len(r.one_step_mse) for r in runs):
            one_step = np.concatenate([r.one_step_mse for r in runs]).mean(axis=0)
            found["one_step_rmse"] = float(np.sqrt((one_step / scale**2).mean()))
            for part, square in zip(found["channels"].values(), one_step, strict=True):
                part["one_step_rmse"] = float(np.sqrt(square))
        if runs[0].window.size:
            filters = [(r.crps, r.background_mse) for r in runs]
            found["window"] = compare_windows([r.window for r in runs], filters, spin_up, scale)
        found["seconds"] = float(np.mean([r.seconds for r in runs]))
        found[_BINS] = np.sum([r.ranks for r in runs], axis=0).tolist()
        scores[method] = found
    return scores


def _summarise(arrays: dict[str, Array], scale_C: Array) -> dict[str, Any]:
    """Scores of several channels together, each divided by its scale; arrays are [T, C]."""
    mse, variance, background = (
        (arrays[name] / scale_C**2).mean(axis=1) for name in ("mse", "variance", "background_mse")
    )
    crps = (arrays["crps"] / scale_C).mean(axis=1)
    return {
        "rmse": interval(mse, root),
        "crps": interval(crps, mean),
        "spread_skill": float(np.sqrt(variance.mean() / mse.mean())),
        "background_rmse": float(np.sqrt(background.mean())),
    }


def _root(runs: list[Series], name: str, scale_C: Array) -> Array:
    """The square root of a series of squares [T], averaged over seeds and channels."""
    return np.asarray(np.sqrt(np.mean([getattr(r, name) / scale_C**2 for r in runs], axis=(0, 2))))


def _publish(
    config: Config, folder: Path, series: dict[str, list[Series]], scores: dict[str, dict[str, Any]], scale_C: Array
) -> tuple[str, ...]:
    text = configuration.dump(config)
    by_cycle = {method: [{n: getattr(r, n).tolist() for n in _FIELDS} for r in runs] for method, runs in series.items()}
    write_json(folder / "scores.json", {"scores": scores, "series": by_cycle, "provenance": provenance(text)})
    lines = {method: (_root(runs, "mse", scale_C), _root(runs, "variance", scale_C)) for method, runs in series.items()}
    write_bytes(folder / "series.png", time_series(lines, spin_up=config.twin.spin_up))
    write_bytes(folder / "ranks.png", rank_histogram({m: np.asarray(s[_BINS]) for m, s in scores.items()}))
    return tuple(str(folder / name) for name in ("scores.json", "series.png", "ranks.png"))
