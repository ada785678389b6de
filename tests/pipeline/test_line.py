"""From files to scores, through the command line: ingest, assimilate, verify, forecast, twin, inspect."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
import zarr
from tiny_world import FIRST, TIMES, Ended, World, command, hidden, reports, stamp, visible

from stormda.assimilation.memory import pasts_of
from stormda.config import load
from stormda.observations import QC
from stormda.pipeline import build
from stormda.store.analysis import read_analysis
from stormda.store.feedback import read_feedback

Run = Callable[..., Ended]
NAMES = [f"{np.datetime_as_string(TIMES[k], unit='m').replace('-', '').replace(':', '')}Z" for k in range(200)]


def _folder(run: Path, k: int, split: int = 0, method: str = "gaussian") -> Path:
    return run / "analyses" / method / f"{NAMES[k]}_split{split:02d}"


def _members(run: Path, k: int, split: int = 0) -> Any:
    return read_analysis(_folder(run, k, split) / "analysis.nc").state.values


# --- what is written -------------------------------------------------------------------------------------------------


def test_every_product_is_there_and_nothing_half_made(analyses: Path) -> None:
    wanted = {"analysis.nc", "background.nc", "feedback.nc", "provenance.json", "config.yaml"}
    folders = {p.name: {f.name for f in p.iterdir()} for p in (analyses / "analyses" / "gaussian").iterdir()}
    assert folders == {f"{NAMES[FIRST + k]}_split{s:02d}": wanted for k in range(3) for s in (0, 1)}
    assert hidden(analyses) == set()


def test_an_analysis_is_a_cf_file(analyses: Path) -> None:
    with netCDF4.Dataset(_folder(analyses, FIRST) / "analysis.nc") as file:
        assert file.Conventions == "CF-1.11" and file.dimensions["realization"].size == 8
        assert file["time"].units.startswith("seconds since") or file["time"].units.startswith("hours since")
        seen = netCDF4.num2date(file["time"][:], file["time"].units, only_use_cftime_datetimes=False)
        assert np.datetime64(np.asarray(seen).item(), "s") == TIMES[FIRST]
        assert file["realization"].standard_name == "realization"
        for name, standard, unit in (
            ("msl", "air_pressure_at_mean_sea_level", "Pa"),
            ("t2m", "air_temperature", "K"),
        ):
            assert file[name].standard_name == standard and file[name].units == unit
            assert file[name].dimensions == ("realization", "latitude", "longitude")
            x = file[name][:].filled(np.nan)
            assert np.isfinite(x).all()
            # Stored in float32: relative rounding 6e-8, a mean of eight adds as much again.
            np.testing.assert_allclose(file[f"{name}_mean"][:], x.mean(axis=0), rtol=5e-7)
            # The spread of float32 members errs by their rounding, 6e-8 times the value, absolutely.
            np.testing.assert_allclose(
                file[f"{name}_spread"][:], x.std(axis=0, ddof=1, dtype=float), atol=2e-7 * abs(x).max()
            )


def test_the_history_of_a_cycle_is_the_analysis_before(analyses: Path) -> None:
    said = [json.loads((_folder(analyses, FIRST + k) / "provenance.json").read_text())["history"] for k in range(3)]
    assert said == ["archive", "analysis", "analysis"]


def test_the_provenance_tells_how_to_make_it_again(analyses: Path) -> None:
    facts = json.loads((_folder(analyses, FIRST, 1) / "provenance.json").read_text())
    assert facts["cycle"] == stamp(FIRST).replace("Z", ":00Z") and facts["method"] == "gaussian"
    assert (facts["seed"], facts["split_seed"], facts["members"]) == (0, 1, 8)
    assert "assimilate" in json.dumps(facts) and "stormda assimilate" in facts["command"]
    assert sum(facts["counts"]["stations"].values()) == 120  # 60 stations, two variables
    assert facts["used"] + facts["withheld"] == 120 and facts["withheld"] > 0
    assert {"torch", "numpy"} <= set(facts["packages"]) and facts["stormda"] and facts["python"]
    archive = hashlib.sha256((analyses.parent / "archive.nc").read_bytes()).hexdigest()
    assert facts["inputs"]["archive"] == {"era": [archive]}
    same, other = (json.loads((_folder(analyses, FIRST + k) / "provenance.json").read_text())["inputs"] for k in (0, 1))
    assert facts["inputs"]["observations"] == same["observations"] != other["observations"]
    assert yaml.safe_load((_folder(analyses, FIRST) / "config.yaml").read_text())["name"] == "tiny"


def test_the_archive_remembers_the_hash_of_its_files(world: World) -> None:
    digest = hashlib.sha256((world.folder / "archive.nc").read_bytes()).hexdigest()
    assert digest in json.dumps(dict(zarr.open_group(world.folder / "run" / "archive.zarr", mode="r").attrs))


def test_the_same_stations_are_withheld_from_every_cycle_and_variable(analyses: Path) -> None:
    def withheld(k: int, split: int) -> set[str]:
        rows = read_feedback(_folder(analyses, k, split) / "feedback.nc").observations
        chosen, kept = (set(rows["station_id"][rows["withheld"] == w].astype(str)) for w in (True, False))
        assert not chosen & kept
        return chosen

    assert withheld(FIRST, 0) == withheld(FIRST + 2, 0) != withheld(FIRST, 1)


# --- what it is worth ------------------------------------------------------------------------------------------------


def test_the_analysis_beats_the_background_at_withheld_stations_and_against_the_truth(analyses: Path) -> None:
    ended = command("verify", "-c", analyses.parent / "config.yaml", "--json", f"run_dir={analyses}")
    assert ended.code == 0, ended.err
    scores = json.loads(ended.out)
    assert scores["missing"] == [] and len(scores["rows"]) == 4
    for row in scores["rows"]:
        for score in ("rmse", "crps"):
            better, worse = (row[side]["scores"][score]["value"] for side in ("analysis", "background"))
            # About 43 used stations with an error of sd/8 (msl) or sd/5 (t2m) against 6 unknowns a channel, and a
            # background that errs by half a standard deviation or more: the error shrinks to well below a half.
            assert better < 0.6 * worse
    assert (analyses / "verification" / "gaussian" / "report.html").stat().st_size > 10_000
    assert (
        json.loads((analyses / "verification" / "gaussian" / "scores.json").read_text())["scores"]["method"]
        == "gaussian"
    )


# --- repetition ------------------------------------------------------------------------------------------------------


def test_the_same_command_gives_the_same_members(run: Run, analyses: Path, tmp_path: Path) -> None:
    assert run("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 1)).code == 0
    for k in (FIRST, FIRST + 1):
        for split in (0, 1):
            np.testing.assert_array_equal(_members(tmp_path / "run", k, split), _members(analyses, k, split))


def test_running_again_replaces_an_analysis_by_its_equal(run: Run, tmp_path: Path) -> None:
    once = ["assimilate", "--cycle", stamp(FIRST), "quality.withhold.seeds=0"]
    folder = tmp_path / "run" / "analyses" / "gaussian" / NAMES[FIRST]
    assert run(*once).code == 0
    before = read_analysis(folder / "analysis.nc").state.values
    assert run(*once).code == 0
    np.testing.assert_array_equal(read_analysis(folder / "analysis.nc").state.values, before)
    assert hidden(tmp_path) == set()
    assert run(*once, "assimilate.seed=1").code == 0
    assert (read_analysis(folder / "analysis.nc").state.values != before).any()


def test_a_member_does_not_depend_on_how_many_there_are(run: Run, analyses: Path, tmp_path: Path) -> None:
    """With one batch size: the first 8 of 12 members are those of an ensemble of 8, bit by bit."""
    assert run("assimilate", "--cycle", stamp(FIRST), "--ensemble", 12).code == 0
    twelve = _members(tmp_path / "run", FIRST)
    assert len(twelve) == 12
    np.testing.assert_array_equal(twelve[:8], _members(analyses, FIRST))


def test_ingest_again_gives_the_same_stores(run: Run, world: World, tmp_path: Path) -> None:
    chunks = {
        p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "run/archive.zarr").rglob("c/*") if p.is_file()
    }
    assert run("ingest").code == 0
    assert chunks and all((tmp_path / name).read_bytes() == data for name, data in chunks.items())
    assert len([p for p in (tmp_path / "run/observations/batches").iterdir()]) == 1
    assert hidden(tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("ingest",),
        ("assimilate", "--cycle", stamp(FIRST)),
        ("train",),
        ("twin", f"twin.start={stamp(FIRST)}", "twin.cycles=3", "twin.spin_up=0"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_dry_run_writes_nothing_and_json_is_one_document(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}

    before = state()
    ended = run(arguments[0], "--dry-run", "--json", *arguments[1:])
    assert ended.code == 0, ended.err
    assert isinstance(json.loads(ended.out), dict)
    assert state() == before


def test_a_dry_run_refuses_a_model_of_the_flow_where_the_domain_has_a_rim(run: Run) -> None:
    ended = run("train", "--dry-run", "storm.transport.steps=5")
    assert ended.code == 2 and "a plane that wraps on every side" in ended.err


def test_a_dry_run_on_nothing_makes_no_folder(world: World, tmp_path: Path) -> None:
    ended = command("ingest", "-c", world.config, "--dry-run", f"run_dir={tmp_path / 'new'}")
    assert ended.code == 0 and list(tmp_path.iterdir()) == []


def test_the_configuration_beside_an_analysis_works_from_there(
    analyses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... from any folder, and in a run that was moved as a whole: the other one is not touched."""
    run = shutil.copytree(analyses, tmp_path / "deep" / "moved")
    monkeypatch.chdir("/")
    config, before = _folder(run, FIRST + 1) / "config.yaml", visible(analyses)
    ended = command("verify", "-c", config, "verify.report=false")
    assert ended.code == 0 and (run / "verification" / "gaussian" / "scores.json").is_file(), ended.err
    shutil.rmtree(_folder(run, FIRST + 1, 1))
    ended = command("assimilate", "-c", config, "--cycle", stamp(FIRST + 1))
    assert ended.code == 0, ended.err
    np.testing.assert_array_equal(_members(run, FIRST + 1, 1), _members(analyses, FIRST + 1, 1))
    assert command("ingest", "-c", config, "--dry-run").code == 0  # the inputs are where they were
    assert visible(analyses) == before


# --- cycling ---------------------------------------------------------------------------------------------------------


def test_a_missing_cycle_does_not_break_the_next(run: Run, tmp_path: Path) -> None:
    """Two frames of history, the nearer one is missing: the far one is used, and the archive is not asked."""
    for k in (FIRST, FIRST + 2):
        ended = run("assimilate", "--cycle", stamp(k), "history.frames=2", "quality.withhold.seeds=[0,1]")
        assert ended.code == 0, ended.err
    facts = json.loads((_folder(tmp_path / "run", FIRST + 2) / "provenance.json").read_text())
    assert facts["history"] == "analysis"
    # Without any history at all it is a cold start, which is legal too.
    ended = run("assimilate", "--cycle", stamp(FIRST + 3), "history.max_age=1h", "history.first=none")
    assert ended.code == 0, ended.err
    assert json.loads((_folder(tmp_path / "run", FIRST + 3) / "provenance.json").read_text())["history"] == "cold start"


def test_each_split_has_a_background_from_its_own_history(run: Run, analyses: Path, tmp_path: Path) -> None:
    """Two frames of history, the newer one is missing: the older one is the split's own, whichever split comes first.

    The network uses an older frame alone (the Gaussian prior does not). Members share their noise between splits, so
    that backgrounds differ by their history only. What each has to be is known from cycles in which the other split
    has no history to share.
    """

    def backgrounds(known: tuple[int, ...], seeds: str) -> list[Any]:
        shutil.rmtree(tmp_path / "run" / "analyses", ignore_errors=True)
        for split in known:
            shutil.copytree(_folder(analyses, FIRST, split), _folder(tmp_path / "run", FIRST, split, "storm"))
        past = "history.frames=2", "history.first=none", f"quality.withhold.seeds={seeds}"
        small = "assimilate.ensemble=2", "sampler.steps=2", "assimilate.limit=1000"
        ended = run("assimilate", "--method", "storm", "--cycle", stamp(FIRST + 2), *past, *small)
        assert ended.code == 0, ended.err
        folders = [_folder(tmp_path / "run", FIRST + 2, split, "storm") for split in (0, 1)]
        return [read_analysis(folder / "background.nc").state.values for folder in folders]

    ended = run("train", "train.steps=5", "train.validate_every=5", "history.frames=2")
    assert ended.code == 0, ended.err
    alone = [backgrounds((0,), "[0,1]")[0], backgrounds((1,), "[0,1]")[1]]
    assert (alone[0] != alone[1]).any()
    for seeds in ("[0,1]", "[1,0]"):
        np.testing.assert_array_equal(backgrounds((0, 1), seeds), alone)


def test_without_observations_the_analysis_is_the_prior_and_says_so(run: Run, tmp_path: Path) -> None:
    ended = run("assimilate", "--cycle", stamp(FIRST + 20))
    assert ended.code == 0, ended.err
    assert "the analysis is the prior" in ended.err
    folder = _folder(tmp_path / "run", FIRST + 20)
    analysis, background = (read_analysis(folder / f"{name}.nc") for name in ("analysis", "background"))
    np.testing.assert_array_equal(analysis.state.values, background.state.values)
    assert np.isfinite(analysis.state.values).all() and analysis.attributes["observations_used"] == "0"
    # ... and the next cycle goes on from there, and verification does not stumble over the empty feedback.
    assert run("assimilate", "--cycle", stamp(FIRST + 21)).code == 0
    ended = run("verify", "verify.report=false")
    assert ended.code == 0, ended.err


def test_without_observations_it_fails_where_that_is_wanted(run: Run, tmp_path: Path) -> None:
    ended = run("assimilate", "--cycle", stamp(FIRST + 20), "observations.on_none=fail")
    assert ended.code == 3 and "observations.on_none" in ended.err
    assert not any(name.startswith("analyses") for name in visible(tmp_path / "run"))


def test_a_covariance_in_another_basis_is_not_taken_for_ours(run: Run) -> None:
    """The analysis carries its error covariance in EOF coordinates; with other EOFs only its spread is known."""
    once = ["--cycle", stamp(FIRST), "quality.withhold.seeds=0"]
    again = ["--cycle", stamp(FIRST + 1), "quality.withhold.seeds=0"]
    assert run("assimilate", *once).code == 0
    assert "EOFs" not in run("assimilate", *again).err
    for change in ("gaussian.modes=5", "archive.train.end=2019-01-30"):
        ended = run("assimilate", *again, change)
        assert ended.code == 0 and "belongs to other EOFs" in ended.err, ended.err


# --- strange observations --------------------------------------------------------------------------------------------


@pytest.fixture
def strange(world: World, run: Run, tmp_path: Path) -> Callable[..., None]:
    """The run with another station table: `strange(change)` stores what `change` makes of the reports of one time."""

    def store(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        change(reports(world.truth, [FIRST]).astype(object)).to_csv(tmp_path / "stations.csv", index=False)
        shutil.rmtree(tmp_path / "run" / "observations")
        files = f"observations.sources.stations.files=[{tmp_path / 'stations.csv'}]"
        ended = run("ingest", "--source", "stations", files)
        assert ended.code == 0, ended.err

    return store


def test_an_observation_outside_the_grid_is_flagged_and_not_used(
    run: Run, strange: Callable[..., None], tmp_path: Path
) -> None:
    def away(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table.station == "ST000", "lat"] = 75.0
        table.loc[table.station == "ST001", "lon"] = -170.0
        return table

    strange(away)
    assert run("assimilate", "--cycle", stamp(FIRST), "quality.withhold.fraction=0").code == 0
    feedback = read_feedback(_folder(tmp_path / "run", FIRST) / "feedback.nc")
    outside = np.isin(feedback.observations["station_id"].astype(str), ["ST000", "ST001"])
    assert outside.sum() == 4 and (feedback.observations["qc"][outside] == QC.OUTSIDE_GRID).all()
    assert np.isnan(feedback.analysis[:, outside]).all() and np.isfinite(feedback.analysis[:, ~outside]).all()
    assert read_analysis(_folder(tmp_path / "run", FIRST) / "analysis.nc").attributes["observations_used"] == "116"


def test_an_observation_outside_the_window_is_not_used(run: Run, strange: Callable[..., None], tmp_path: Path) -> None:
    """The window is (t - 6h, t]: its start belongs to the cycle before."""

    def late(table: pd.DataFrame) -> pd.DataFrame:
        for station, shift in (("ST000", 1), ("ST001", -6 * 3600), ("ST002", 1 - 6 * 3600)):
            moved = np.datetime_as_string(TIMES[FIRST] + np.timedelta64(shift, "s"), unit="s")
            table.loc[table.station == station, "time"] = moved
        return table

    strange(late)
    assert run("assimilate", "--cycle", stamp(FIRST), "quality.withhold.fraction=0").code == 0
    rows = read_feedback(_folder(tmp_path / "run", FIRST) / "feedback.nc").observations
    stations = set(rows["station_id"].astype(str))
    assert "ST002" in stations and not stations & {"ST000", "ST001"}


def test_nan_fill_values_and_nonsense_never_reach_the_state(
    run: Run, strange: Callable[..., None], tmp_path: Path
) -> None:
    nothing: list[Any] = ["NaN", "", "-9999", "-99.0", "NA"]
    nonsense: list[Any] = [9.96921e36, 1e300, 0.0]  # NetCDF's fill value of floats, and out of range

    def broken(table: pd.DataFrame) -> pd.DataFrame:
        for n, value in enumerate([*nothing, *nonsense]):
            table.loc[table.station == f"ST{n:03d}", "pressure"] = value
        return table

    strange(broken)
    assert run("assimilate", "--cycle", stamp(FIRST), "quality.withhold.fraction=0").code == 0
    assert np.isfinite(_members(tmp_path / "run", FIRST)).all()
    rows = read_feedback(_folder(tmp_path / "run", FIRST) / "feedback.nc").observations
    pressure, used = rows["variable"].astype(str) == "msl", rows["qc"] == QC.USED
    stations = rows["station_id"].astype(str)
    assert used[pressure].sum() == 60 - len(nothing) - len(nonsense) and used[~pressure].all()
    assert not used[pressure & np.isin(stations, [f"ST{n:03d}" for n in range(8)])].any()


# --- the other stages ------------------------------------------------------------------------------------------------


def test_forecast_goes_on_from_an_analysis(analyses: Path, world: World, tmp_path: Path) -> None:
    shutil.copytree(analyses, tmp_path / "run")
    ended = command(
        "forecast",
        "-c",
        world.config,
        "--cycle",
        stamp(FIRST + 2),
        "--lead",
        "12h",
        "--json",
        f"run_dir={tmp_path / 'run'}",
    )
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["files"] == ["forecast_006h.nc", "forecast_012h.nc"] and result["members"] == 8
    spread = [read_analysis(Path(result["folder"]) / name).spread.mean(axis=(1, 2)) for name in result["files"]]
    # AR(1) of 0.9: the variance grows from 1 - 0.9^2 = 0.19 to 1 - 0.9^4 = 0.34, the spread by a third. 8 members and
    # 6 unknowns a channel know their spread to about 10 %.
    assert (spread[1] > spread[0]).all()


@pytest.mark.parametrize("method", ["kf", "oi", "letkf"])
def test_the_baselines_go_the_same_way(run: Run, tmp_path: Path, method: str) -> None:
    ended = run("assimilate", "--method", method, "--cycle", stamp(FIRST))
    assert ended.code == 0, ended.err
    analysis, background = (
        read_analysis(_folder(tmp_path / "run", FIRST, method=method) / f"{n}.nc") for n in ("analysis", "background")
    )
    assert (analysis.spread.mean(axis=(1, 2)) < background.spread.mean(axis=(1, 2))).all()


def test_an_ensemble_filter_goes_on_from_its_own_members(run: Run, world: World, tmp_path: Path) -> None:
    common = ("assimilate", "--method", "letkf", "assimilate.ensemble=8")
    assert run(*common, "--cycle", stamp(FIRST)).code == 0
    ended = run(*common, "--json", "--cycle", stamp(FIRST + 1))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["cycles"][0]["history"] == "analysis"
    before, after = (
        read_analysis(_folder(tmp_path / "run", k, method="letkf") / f"{name}.nc").state.values
        for k, name in ((FIRST, "analysis"), (FIRST + 1, "background"))
    )
    prior = build.prior(load(world.config, [f"run_dir={tmp_path / 'run'}"]), "letkf")
    z = torch.as_tensor(prior.normaliser.encode(before, TIMES[FIRST : FIRST + 1]))
    forecast = prior.forecast(pasts_of([z]), TIMES[FIRST + 1], range(8), 0)  # type: ignore[attr-defined]
    # Files hold four bytes a value: 6e-8 of 1e5 Pa, twice.
    np.testing.assert_allclose(prior.normaliser.decode(forecast.numpy(), TIMES[FIRST + 1]), after, rtol=1e-6)
    other = run(*common[:-1], "assimilate.ensemble=6", "--cycle", stamp(FIRST + 2))
    assert other.code == 1 and "assimilate.ensemble=8" in other.err
    nothing = run(*common, "letkf.model=nature", "--cycle", stamp(FIRST + 2))
    assert nothing.code == 2 and "letkf.model" in nothing.err


def test_twin_scores_methods_on_the_archive(run: Run, tmp_path: Path) -> None:
    ended = run(
        "twin", "--json", "--method", "gaussian", "--method", "kf", f"twin.start={stamp(FIRST)}", "--cycles", "4",
        "twin.spin_up=1", "twin.network.count=10",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    scores = json.loads(ended.out)["scores"]
    for method in ("gaussian", "kf"):
        assert scores[method]["rmse"]["value"] < scores[method]["background_rmse"]
        assert all(part["rmse"]["value"] < part["background_rmse"] for part in scores[method]["channels"].values())
        assert scores[method]["one_step_rmse"] < scores[method]["background_rmse"]  # from the truth, not from analyses
    assert scores["gaussian"]["crps_ratio"]["to"] == "kf" and "crps_ratio" not in scores["kf"]
    ratio = scores["gaussian"]["crps"]["value"] / scores["kf"]["crps"]["value"]
    assert scores["gaussian"]["crps_ratio"]["value"] == pytest.approx(ratio, rel=1e-12)
    assert {p.name for p in (tmp_path / "run" / "twin").iterdir()} == {
        "scores.json",
        "series.png",
        "ranks.png",
        "series",
    }


def test_twin_observes_at_the_places_of_real_reports(run: Run) -> None:
    common = ("twin", "--json", "--method", "kf", f"twin.start={stamp(FIRST)}", "--cycles", "3", "twin.spin_up=0")
    ended = run(*common, f"twin.network.stations={stamp(FIRST)}")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert "places of the observations" in result["network"]
    assert result["scores"]["kf"]["rmse"]["value"] < result["scores"]["kf"]["background_rmse"]
    nothing = run(*common, "twin.network.stations=1999-01-01T00Z")
    assert nothing.code == 3 and "twin.network.stations" in nothing.err


def test_train_then_assimilate_with_the_network(run: Run, tmp_path: Path) -> None:
    ended = run("train", "train.steps=5", "train.validate_every=5")
    assert ended.code == 0, ended.err
    ended = run("assimilate", "--method", "storm", "--cycle", stamp(FIRST), "assimilate.limit=1000")
    assert ended.code == 0, ended.err
    facts = json.loads((_folder(tmp_path / "run", FIRST, method="storm") / "provenance.json").read_text())
    assert len(facts["inputs"]["weights"]) == 64


def test_inspect_shows_everything_we_write(analyses: Path) -> None:
    folder = _folder(analyses, FIRST)
    for path in (analyses / "archive.zarr", analyses / "observations", *sorted(folder.iterdir())):
        if path.suffix in (".yaml", ".html"):
            continue
        ended = command("inspect", path, "--json")
        assert ended.code == 0, (path, ended.err)
        assert isinstance(json.loads(ended.out), dict)
