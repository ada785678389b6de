"""Stage `inspect`: say for people what a file or folder of ours is and what it holds.

A product is known by what it holds, not by its name. Reading is light: of an ensemble only mean and spread, of an
archive only its coordinates and statistics.
"""

__all__ = ["Inspection", "inspect"]

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stormda import config as configuration
from stormda.errors import InputError, InputMissing
from stormda.nn.weights import load_weights
from stormda.pipeline import inspect_analysis, inspect_netcdf, inspect_run, inspect_statistics
from stormda.pipeline.facts import Facts, flatten, text
from stormda.store.archive import Archive
from stormda.store.observations import ObservationStore
from stormda.time import format_time, hours, parse_time

_KNOWN = (
    "runs, analyses, forecasts, ensembles, feedback, archive, observation store, weights, scores, statistics, "
    "provenance, configuration"
)
_HDF5, _PARQUET, _SAFETENSORS_AT = b"\x89HDF", b"PAR1", 8


@dataclass(frozen=True)
class Inspection:
    """What something is.

    Args:
        path: where it is.
        kind: such as `ensemble` or `observation store`.
        facts: (name, value) in the order to show them.
        columns, rows: a table, empty where there is none.
    """

    path: str
    kind: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """For people: the facts above the table, or as the table where there is no other."""
        title = f"{self.kind}: {self.path}"
        if not self.rows:
            return title, ["", ""], [list(fact) for fact in self.facts]
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [title, *(f"  {name:<{width}}  {value}" for name, value in self.facts), ""]
        return "\n".join(lines), list(self.columns), [list(row) for row in self.rows]


def inspect(path: Path) -> Inspection:
    """Recognise a product and describe it.

    Args:
        path: a file or folder that stormda wrote, or a configuration.

    Raises:
        InputMissing: nothing is there.
        InputError: nothing that stormda writes, or damaged.
        ConfigError: a configuration that is not valid.
    """
    if not path.exists():
        raise InputMissing("there is no such file or folder", file=path)
    kind, facts = _reader(path)(path)
    return Inspection(str(path), kind, tuple(facts.pairs), tuple(facts.columns), tuple(map(tuple, facts.rows)))


def _reader(path: Path) -> Callable[[Path], tuple[str, Facts]]:
    """Who can read it, by what it holds."""
    if path.is_dir():
        if (path / "zarr.json").is_file():
            return _archive
        if (path / "manifest.json").is_file():
            return _observations
        if (path / "analysis.nc").is_file():
            return inspect_analysis.describe
        if any(path.glob("forecast_*h.nc")):
            return _forecast
        if inspect_run.is_run(path):
            return inspect_run.describe
        inside = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
        raise _unknown(path, f"name one of: {', '.join(inside)}" if inside else "the folder is empty")
    try:
        with path.open("rb") as file:
            start = file.read(_SAFETENSORS_AT + 1)
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", file=path) from error
    if not start:
        raise InputError("the file is empty", file=path)
    if start.startswith(_HDF5):
        return inspect_netcdf.describe
    if start.startswith(_PARQUET):
        return inspect_statistics.describe
    if path.suffix == ".safetensors" or start[_SAFETENSORS_AT:] == b"{":
        return _weights
    by_suffix = {".json": _json, ".yaml": _config, ".yml": _config}
    if path.suffix in by_suffix:
        return by_suffix[path.suffix]
    raise _unknown(path, f"stormda inspect knows: {_KNOWN}")


def _unknown(path: Path, hint: str) -> InputError:
    return InputError("nothing that stormda writes", file=path, hint=hint)


def _forecast(path: Path) -> tuple[str, Facts]:
    """When it began, and mean and spread of every channel at every lead."""
    facts, files = Facts(), sorted(path.glob("forecast_*h.nc"))
    ensembles = [(file.stem.removeprefix("forecast_").lstrip("0"), inspect_netcdf.ensemble(file)) for file in files]
    known = dict(ensembles[0][1].pairs)
    for name, key in (("cycle", "forecast_reference_time"), ("method", "method"), ("members", "members")):
        facts.add(name, known.get(key, "-"))
    facts.add("grid", known["grid"])
    facts.columns = ["lead", "valid", "channel", "unit", "mean", "spread"]
    for lead, ensemble in ensembles:
        valid = dict(ensemble.pairs)["time"]
        facts.rows += [[lead, valid, *row[:3], row[-1]] for row in ensemble.rows]
    return "forecast", facts


def _archive(path: Path) -> tuple[str, Facts]:
    archive = Archive.open(path)
    facts, times = Facts(), archive.times
    facts.add("times", f"{len(times)}, {format_time(times[0])} to {format_time(times[-1])}" if len(times) else "none")
    facts.add("step", f"{hours(archive.step):g} h")
    facts.add("grid", str(archive.grid))
    facts.add("channels", ", ".join(c.name for c in archive.channels))
    normaliser = archive.normaliser
    facts.add("climatology", f"{normaliser.annual} annual, {normaliser.diurnal} diurnal harmonics")
    facts.columns = ["channel", "unit", "transform", "anomaly sd (transformed)"]
    facts.rows = [
        [c.name, c.info.unit, str(c.info.transform), f"{sd:.4g}"]
        for c, sd in zip(archive.channels, normaliser.sd, strict=True)
    ]
    return "archive", facts


def _observations(path: Path) -> tuple[str, Facts]:
    facts, summary = Facts(), ObservationStore(path).summary()
    facts.add("sources", len(summary))
    facts.add("values", sum(int(str(s["rows"])) for s in summary))
    facts.columns = ["source", "batches", "values", "first", "last"]
    for s in summary:
        span = [format_time(parse_time(s[k])) if s[k] else "-" for k in ("first", "last")]
        facts.rows.append([str(s["source"]), str(s["batches"]), str(s["rows"]), *span])
    return "observation store", facts


def _weights(path: Path) -> tuple[str, Facts]:
    weights, facts = load_weights(path), Facts()
    facts.add("parameters", f"{sum(t.numel() for t in weights.tensors.values()):,}")
    facts.add("channels", ", ".join(c.name for c in weights.channels))
    facts.add("grid", weights.grid)
    facts.add("step", f"{hours(weights.step):g} h")
    facts.add("noise levels", "{:.4g} to {:.4g}".format(*weights.sigma))
    for pair in flatten({"architecture": dict(weights.architecture)} | dict(weights.card)):
        facts.add(*pair)
    return "weights", facts


def _json(path: Path) -> tuple[str, Facts]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"truncated or not JSON ({error})", file=path) from error
    if isinstance(tree, dict) and "scores" in tree:
        try:
            return "scores", _scores(tree)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError("scores, but not as stormda writes them", file=path) from error
    if isinstance(tree, dict) and {"stormda", "created", "config_sha256"} <= tree.keys():
        facts = Facts()
        for pair in flatten(tree):
            facts.add(*pair)
        return "provenance", facts
    raise _unknown(path, f"stormda inspect knows: {_KNOWN}")


def _scores(tree: dict[str, Any]) -> Facts:
    """Scores of `verify`, one row a target and variable, or of `twin`, one row a method."""
    facts, scores = Facts(), tree["scores"]
    if isinstance(scores.get("rows"), list):
        for pair in flatten({k: v for k, v in scores.items() if k not in ("rows", "files", "more")}):
            facts.add(*pair)
        metrics = list(dict.fromkeys(m for r in scores["rows"] for s in _sides(r) for m in (s or {}).get("scores", {})))
        facts.columns = ["target", "variable", "n", *metrics]
        for row in scores["rows"]:
            cells = [" > ".join("-" if s is None else text(s["scores"].get(m)) for s in _sides(row)) for m in metrics]
            facts.rows.append([row["target"], f"{row['variable']} [{row['unit']}]", str(row["n"]), *cells])
        facts.add("scores", "background > analysis")
    else:
        names = list(dict.fromkeys(n for s in scores.values() for n, v in s.items() if not isinstance(v, list)))
        facts.columns = ["method", *names]
        facts.rows = [[method, *(text(s.get(n)) for n in names)] for method, s in scores.items()]
    for key in ("created", "command"):
        if key in tree.get("provenance", {}):
            facts.add(key, tree["provenance"][key])
    return facts


def _sides(row: dict[str, Any]) -> tuple[Any, Any]:
    return row.get("background"), row.get("analysis")


def _config(path: Path) -> tuple[str, Facts]:
    try:
        if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
            raise _unknown(path, f"stormda inspect knows: {_KNOWN}")
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"truncated or not YAML ({error})", file=path) from error
    config, facts = configuration.load(path), Facts()
    facts.add("name", config.name)
    facts.add("run folder", str(config.run))
    facts.add("channels", ", ".join(config.channels))
    facts.add("archive", ", ".join(config.archive.sources) or "none")
    facts.add("step", f"{hours(config.assimilate.step):g} h")
    window = f"(cycle - {hours(config.observations.before):g} h, cycle + {hours(config.observations.after):g} h]"
    facts.add("window", window)
    facts.add("method", f"{config.assimilate.method}, {config.assimilate.ensemble} members")
    facts.columns = ["source", "kind", "policy", "files"]
    facts.rows = [[n, s.kind, s.policy, ", ".join(s.files)] for n, s in config.observations.sources.items()]
    return "configuration", facts
