"""Quality control through the command line: station bias, super-observations, sources that say nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
import yaml
from far_away import serving
from tiny_world import FIRST, LATITUDE, LONGITUDE, TIMES, Ended, World, command, configuration, reports, stamp

from stormda.observations import QC
from stormda.quality.withhold import uniform
from stormda.store.analysis import read_analysis
from stormda.store.feedback import Feedback, read_feedback
from stormda.store.provenance import digest
from stormda.types import Array

BIASED = ["ST003", "ST011", "ST042"]
BIAS = "quality.bias={variables: [t2m], hours: null, shrink: 0}"
ONE = "quality.withhold.seeds=0"
WITHHELD = [f"ST{n:03d}" for n in range(60) if uniform(f"ST{n:03d}", 0) < 0.3]


def folder(run: Path, k: int) -> Path:
    name = f"{np.datetime_as_string(TIMES[k], unit='m').replace('-', '').replace(':', '')}Z"
    return run / "analyses" / "gaussian" / name


def feedback(run: Path, k: int) -> Feedback:
    return read_feedback(folder(run, k) / "feedback.nc")


def members(run: Path, k: int) -> Array:
    return read_analysis(folder(run, k) / "analysis.nc").state.values


@pytest.fixture
def spoilt(world: World, tmp_path: Path) -> Callable[..., Callable[..., Ended]]:
    """`spoilt(name, change)` ingests reports that `change` has changed and gives a command that works on them."""

    def make(name: str, change: Callable[[pd.DataFrame], None]) -> Callable[..., Ended]:
        here = tmp_path / name
        here.mkdir()
        table = reports(world.truth, range(FIRST, FIRST + 4)).reset_index(drop=True)
        change(table)
        table.to_csv(here / "stations.csv", index=False)
        tree = configuration()
        tree["archive"]["sources"]["era"]["files"] = [str(world.folder / "archive.nc")]
        (here / "config.yaml").write_text(yaml.safe_dump(tree))

        def run(verb: str, *arguments: object) -> Ended:
            return command(verb, "-c", here / "config.yaml", *arguments, ONE)

        ended = run("ingest")
        assert ended.code == 0, ended.err
        return run

    return make


def warmer(table: pd.DataFrame) -> None:
    table.loc[table["station"].isin(BIASED), "temperature"] += 4.0


def test_biases_are_learned_from_the_archive_and_taken_away(
    spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path
) -> None:
    run, here = spoilt("world", warmer), tmp_path / "world" / "run"
    ended = run("bias", "--from", stamp(FIRST), "--to", stamp(FIRST + 1), BIAS, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["rows"][0]["stations"] == 60
    ended = run("assimilate", "--cycle", stamp(FIRST + 1), "--cycle", stamp(FIRST + 3), BIAS)
    assert ended.code == 0, ended.err
    inputs = json.loads((folder(here, FIRST + 3) / "provenance.json").read_text())["inputs"]
    assert inputs["bias"] == digest(here / "bias.parquet")
    learned, later = feedback(here, FIRST + 1).observations, feedback(here, FIRST + 3).observations
    assert (learned["bias"] == 0).all()  # these very reports were learned from
    t2m = later["variable"] == "t2m"
    off = np.isin(later["station_id"], BIASED)
    # Two reports with errors of 1 K: the mean is 0.7 K off, four of them for three and two for rms of fifty-seven.
    assert np.abs(later["bias"][t2m & off] - 4.0).max() < 2.8
    assert np.sqrt((later["bias"][t2m & ~off] ** 2).mean()) < 1.4
    assert (later["bias"][~t2m] == 0).all()
    table = pq.read_table(here / "bias.parquet").to_pandas()
    assert len(table) == 60 and (table["last"] <= TIMES[FIRST + 1]).all()


def test_what_is_withheld_teaches_nothing(spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path) -> None:
    """Two worlds whose withheld stations differ by 5 K have one and the same analyses, and the same table."""
    assert 5 < len(WITHHELD) < 30

    def other(table: pd.DataFrame) -> None:
        warmer(table)
        table.loc[table["station"].isin(WITHHELD), "temperature"] += 5.0

    learning = BIAS.replace("{", "{update: true, ")
    checks = "quality.dynamic=[{check: climatology}, {check: background}, {check: buddy}, {check: isolation}]"
    for name, change in (("one", warmer), ("two", other)):
        run = spoilt(name, change)
        ended = run("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 2), learning, checks)
        assert ended.code == 0, ended.err
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    for k in range(FIRST, FIRST + 3):
        assert (members(one, k) == members(two, k)).all()
        tables = [pq.read_table(folder(run, k) / "bias.parquet").to_pandas() for run in (one, two)]
        assert tables[0].equals(tables[1])
        assert not set(tables[0]["station_id"]) & set(WITHHELD)
    known = pq.read_table(folder(one, FIRST + 2) / "bias.parquet").to_pandas().set_index("station_id")["mean"]
    assert known[[s for s in BIASED if s not in WITHHELD]].min() > 1.5


def test_a_cycle_that_is_drawn_again_is_the_same(spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path) -> None:
    run, here = spoilt("world", warmer), tmp_path / "world" / "run"
    learning = BIAS.replace("{", "{update: true, ")
    assert run("assimilate", "--from", stamp(FIRST), "--to", stamp(FIRST + 2), learning).code == 0
    before = members(here, FIRST + 1), (folder(here, FIRST + 1) / "bias.parquet").read_bytes()
    assert run("assimilate", "--cycle", stamp(FIRST + 1), learning).code == 0
    assert (members(here, FIRST + 1) == before[0]).all()
    assert (folder(here, FIRST + 1) / "bias.parquet").read_bytes() == before[1]


def test_biases_are_learned_from_feedback_too(spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path) -> None:
    run, here = spoilt("world", warmer), tmp_path / "world" / "run"
    period = "--from", stamp(FIRST), "--to", stamp(FIRST + 2)
    ended = run("bias", *period, "--against", "feedback", BIAS)
    assert ended.code == 3 and "nothing to learn from" in ended.err
    assert run("assimilate", *period).code == 0
    assert run("bias", *period, "--against", "feedback", BIAS).code == 0
    table = pq.read_table(here / "bias.parquet").to_pandas().set_index("station_id")
    assert not set(table.index) & set(WITHHELD)
    known = [s for s in BIASED if s not in WITHHELD]
    # Backgrounds are wrong by some 2 K, alike at neighbouring stations: the difference of 4 K is seen within 2 K.
    assert table.loc[known, "mean"].mean() - table.drop(index=known)["mean"].mean() == pytest.approx(4.0, abs=2.0)
    assert run("bias", *period).code == 2  # no variable is named


def test_a_table_that_is_damaged_or_missing_is_named(
    spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path
) -> None:
    run, here = spoilt("world", warmer), tmp_path / "world" / "run"
    ended = run("assimilate", "--cycle", stamp(FIRST), BIAS)
    assert ended.code == 0 and "no bias of stations is known" in ended.err
    (here / "bias.parquet").write_bytes(b"PAR1 no more")
    ended = run("assimilate", "--cycle", stamp(FIRST), BIAS)
    assert ended.code == 1 and "the biases of stations cannot be read" in ended.err and "bias.parquet" in ended.err


def test_dense_reports_become_super_observations(run: Callable[..., Ended], tmp_path: Path) -> None:
    ended = run("assimilate", "--cycle", stamp(FIRST), ONE, "quality.superob=[{variables: [t2m]}]")
    assert ended.code == 0, ended.err
    own = feedback(tmp_path / "run", FIRST)
    o = own.observations
    new, merged = o["count"] > 1, o["qc"] == QC.MERGED
    assert new.sum() > 3 and o["count"][new].sum() == merged.sum()
    assert set(o["variable"][new | merged]) == {"t2m"} and (o["qc"][new] == QC.USED).all()
    assert np.isfinite(own.background[:, merged | new]).all() and np.isfinite(own.analysis[:, merged | new]).all()
    # A super-observation is the mean of its reports, and so is H of it, to the curvature of the field in a cell.
    departures = [o["value"][rows] - own.background[:, rows].mean(axis=0) for rows in (new, merged)]
    assert np.average(departures[0], weights=o["count"][new]) == pytest.approx(departures[1].mean(), abs=0.2)
    assert run("verify", ONE).code == 0


def test_a_source_that_says_nothing_is_named_once(run: Callable[..., Ended], tmp_path: Path) -> None:
    quiet = "{kind: table, policy: optional, files: [stations.csv], station_id: s, time: t, latitude: a, longitude: b}"
    period = "--from", stamp(FIRST), "--to", stamp(FIRST + 1)
    ended = run("assimilate", *period, ONE, f"observations.sources.airports={quiet}")
    assert ended.code == 0, ended.err
    assert ended.err.count("source 'airports' has no observation in 2 of 2 windows: nothing is ingested") == 1
    known = json.loads((folder(tmp_path / "run", FIRST) / "provenance.json").read_text())
    assert known["counts"]["airports"] == {} and known["counts"]["stations"]["used"] > 0


def test_a_station_is_compared_with_the_height_of_the_grid(
    spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path
) -> None:
    """A plateau of 1500 m: who stands on it is near the grid's surface, who stands at sea level is not."""

    def high(table: pd.DataFrame) -> None:
        table["height"] = np.where(table["station"].isin(BIASED), 0.0, 1500.0)

    run, here = spoilt("world", high), tmp_path / "world"
    plateau = xr.DataArray(np.full((8, 12), 1500.0), dims=("latitude", "longitude"), attrs={"units": "m"})
    coordinates = {"latitude": LATITUDE, "longitude": LONGITUDE}
    xr.Dataset({"z": plateau}).assign_coords(coordinates).to_netcdf(here / "z.nc", engine="netcdf4")
    heights = "observations.sources.stations.elevation=height"
    assert run("ingest", heights).code == 0
    check = "quality.dynamic=[{check: station_height, limit: 100, variables: [msl]}]"
    ended = run("assimilate", "--cycle", stamp(FIRST), heights, check, "operators.t2m={kind: height, orography: z.nc}")
    assert ended.code == 0, ended.err
    seen = feedback(here / "run", FIRST).observations
    low = (seen["variable"] == "msl") & (seen["qc"] == QC.STATION_HEIGHT)
    assert set(seen["station_id"][low]) == set(BIASED)
    ended = run("assimilate", "--cycle", stamp(FIRST), heights, check)
    assert ended.code == 0 and "compares with sea level" in ended.err


def test_an_orography_at_a_url_serves_every_stage(spoilt: Callable[..., Callable[..., Ended]], tmp_path: Path) -> None:
    def high(table: pd.DataFrame) -> None:
        table["height"] = 100.0

    run, here = spoilt("world", high), tmp_path / "world"
    flat = xr.DataArray(np.full((8, 12), 100.0), dims=("latitude", "longitude"), attrs={"units": "m"})
    coordinates = {"latitude": LATITUDE, "longitude": LONGITUDE}
    xr.Dataset({"z": flat}).assign_coords(coordinates).to_netcdf(tmp_path / "z.nc", engine="netcdf4")
    assert run("ingest", heights := "observations.sources.stations.elevation=height").code == 0
    with serving(tmp_path / "far") as far:
        url = far.put("z.nc", (tmp_path / "z.nc").read_bytes())
        own = heights, f"operators.t2m={{kind: height, orography: '{url}'}}", "window.frames=2"
        for verb, *more in (("assimilate",), ("verify",), ("bias", BIAS)):
            ended = run(verb, "--from", stamp(FIRST), "--to", stamp(FIRST + 1), *own, *more)
            assert ended.code == 0 and "WARNING" not in ended.err, ended.err
    assert (folder(here / "run", FIRST) / "reanalysis.nc").is_file()
