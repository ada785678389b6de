"""From the command line: members of a centre's own model for the prior, its state as one more piece of knowledge."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nwp_world import errors, write_grib, write_netcdf
from tiny_world import FIRST, SD, TIMES, Ended, World, command, stamp

from stormda.store.analysis import Analysis, read_analysis

Run = Callable[..., Ended]
CYCLE = ("--cycle", stamp(FIRST))


def members(world: World, count: int = 8, k: int = FIRST) -> np.ndarray[Any, Any]:
    """Their mean errs as each of them does from the mean."""
    return (world.truth[k] + errors(1, 1)[0] + errors(count, 2)).astype(np.float32)


def published(run: Path, method: str, name: str = "analysis", k: int = FIRST) -> Analysis:
    stem = str(TIMES[k]).replace("-", "").replace(":", "")[:13]
    return read_analysis(run / "analyses" / method / f"{stem}Z_split00" / f"{name}.nc")


def error(analysis: Analysis, world: World, k: int = FIRST) -> float:
    """RMSE in climatological standard deviations."""
    return float(np.sqrt((((analysis.mean - world.truth[k]) / SD[:, None, None]) ** 2).mean()))


@pytest.mark.parametrize("method", ["letkf", "ensf"])
def test_members_in_netcdf_are_the_prior(run: Run, world: World, tmp_path: Path, method: str) -> None:
    given = members(world)
    write_netcdf(tmp_path / "ens.nc", given, FIRST)
    ended = run(
        "assimilate", "--method", method, "--ensemble", "8", *CYCLE, "--json",
        "--prior", f"ensemble:{tmp_path / 'ens.nc'}",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["cycles"][0]["history"] == "given ensemble"
    background, analysis = (published(tmp_path / "run", method, n) for n in ("background", "analysis"))
    # Standardised in double precision, stored in single: one rounding (6e-8) of 1e5 Pa on the way, another on disk.
    np.testing.assert_allclose(background.state.values, given, rtol=3e-7)
    assert error(analysis, world) < (0.6 if method == "letkf" else 1.0) * error(background, world)


def test_members_in_grib_are_those_in_netcdf(run: Run, world: World, tmp_path: Path) -> None:
    given = members(world, 4)
    write_grib(tmp_path / "ens.grib", given, FIRST)
    for m, member in enumerate(given):
        write_grib(tmp_path / f"{str(TIMES[FIRST])[:10]}_m{m}.grib", member[None], FIRST, numbered=False)
    common = "assimilate", "--method", "letkf", "assimilate.ensemble=4", "quality.withhold.seeds=[0, 1]", *CYCLE
    for files in ("ens.grib", "%Y-%m-%d_m*.grib"):
        ended = run(*common, "--prior", f"ensemble:{tmp_path / files}")
        assert ended.code == 0, ended.err
        background = published(tmp_path / "run", "letkf", "background")
        # 24 bits over the range of a field, below 1e4 Pa: 6e-4 Pa; single precision at 1e5 Pa: 8e-3 Pa.
        np.testing.assert_allclose(background.state.values, given, rtol=2e-7)


def test_nothing_needs_to_be_trained_or_ingested_but_observations(world: World, tmp_path: Path) -> None:
    given = members(world)
    write_netcdf(tmp_path / "ens.nc", given, FIRST)
    command("ingest", "-c", world.config, "--source", "stations", f"run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run" / "archive.zarr").exists()
    ended = command(
        "assimilate", "-c", world.config, "--method", "letkf", "--ensemble", "8", *CYCLE,
        "--prior", f"ensemble:{tmp_path / 'ens.nc'}", f"run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    background, analysis = (published(tmp_path / "run", "letkf", n) for n in ("background", "analysis"))
    np.testing.assert_allclose(background.state.values, given, rtol=3e-7)
    assert error(analysis, world) < 0.6 * error(background, world)


def test_names_of_the_archive_and_of_the_section_find_channels(run: Run, world: World, tmp_path: Path) -> None:
    write_netcdf(tmp_path / "ens.nc", members(world), FIRST, msl="slp_red", t2m="T_2M")
    common = "assimilate", "--method", "letkf", "--ensemble", "8", *CYCLE, "--prior", f"ensemble:{tmp_path / 'ens.nc'}"
    ended = run(*common)
    assert ended.code == 1 and "nwp.variables" in ended.err and "slp_red" in ended.err
    assert run(*common, "nwp.variables={msl: slp_red, t2m: T_2M}").code == 0


def test_what_is_wrong_with_members_is_said(run: Run, world: World, tmp_path: Path) -> None:
    given, path = members(world), tmp_path / "ens.nc"
    common = "assimilate", "--method", "letkf", *CYCLE, "--prior", f"ensemble:{path}"

    ended = run(*common)
    assert ended.code == 3 and "does not exist" in ended.err and "assimilate.prior" in ended.err
    write_netcdf(path, given, FIRST + 1)
    ended = run(*common)
    assert ended.code == 3 and f"no state of {stamp(FIRST)[:-1]}" in ended.err and "ens.nc has" in ended.err
    write_netcdf(path, given, FIRST)
    ended = run(*common, "--ensemble", "32")
    assert ended.code == 1 and "8 members" in ended.err and "assimilate.ensemble=8" in ended.err
    write_netcdf(path, given[:1], FIRST)
    ended = run(*common, "assimilate.ensemble=2")
    assert ended.code == 1 and "1 members" in ended.err and "--background" in ended.err
    given[3, 1, 2, 2] = np.nan
    write_netcdf(path, given, FIRST)
    ended = run(*common, "--ensemble", "8")
    assert ended.code == 1 and "missing values" in ended.err and "ens.nc" in ended.err
    ended = run(*common, "--method", "kf")
    assert ended.code == 2 and "kf" in ended.err and "--background" in ended.err
    ended = run("assimilate", *CYCLE, "--method", "letkf", "--prior", str(path))
    assert ended.code == 2 and "ensemble:PATH" in ended.err
    assert not list((tmp_path / "run").glob("analyses/*/*"))


def test_grids_that_do_not_cover_the_analysis_are_said(run: Run, world: World, tmp_path: Path) -> None:
    import xarray as xr

    write_netcdf(tmp_path / "whole.nc", members(world), FIRST)
    with xr.open_dataset(tmp_path / "whole.nc") as whole:
        whole.isel(latitude=slice(0, 6)).to_netcdf(tmp_path / "part.nc")
    ended = run(
        "assimilate", "--method", "letkf", "--ensemble", "8", *CYCLE, "--prior", f"ensemble:{tmp_path / 'part.nc'}"
    )
    assert ended.code == 1 and "24 points of the analysis" in ended.err and "larger region" in ended.err


def test_the_configuration_beside_an_analysis_finds_its_files(run: Run, world: World, tmp_path: Path) -> None:
    name = "ens_kept.nc"
    write_netcdf(world.folder / name, members(world), FIRST)
    ended = run("assimilate", "--method", "letkf", "--ensemble", "8", *CYCLE, "--prior", f"ensemble:{name}")
    assert ended.code == 0, ended.err
    folder = next((tmp_path / "run" / "analyses" / "letkf").glob("*_split00"))
    assert f"prior: ensemble:{world.folder / name}" in (folder / "config.yaml").read_text()
    facts = json.loads((folder / "provenance.json").read_text())
    assert list(facts["inputs"]["prior"]) == [name]


def past(world: World, path: Path, sd: float, times: range = range(20, FIRST - 20)) -> None:
    """States of earlier times, biased by half a standard deviation."""
    values = world.truth[times] + errors(len(times), 11, sd) + 0.5 * SD[:, None, None]
    write_netcdf(path, values, list(times), members=False)


@pytest.mark.parametrize("method", ["gaussian", "kf", "oi"])
def test_a_state_of_a_centre_is_used_beside_the_prior(run: Run, world: World, tmp_path: Path, method: str) -> None:
    past(world, tmp_path / "past.nc", 0.1)
    state = world.truth[FIRST] + errors(1, 12, 0.1)[0] + 0.5 * SD[:, None, None]
    write_netcdf(tmp_path / "now.nc", state[None], FIRST, members=False)
    common = "assimilate", "--method", method, "--ensemble", "16", *CYCLE, "quality.withhold.fraction=0.9"
    assert run(*common).code == 0
    without = error(published(tmp_path / "run", method), world)
    ended = run(*common, "--background", tmp_path / "now.nc", f"nwp.past=[{tmp_path / 'past.nc'}]")
    assert ended.code == 0, ended.err
    analysis = published(tmp_path / "run", method)
    own = float(np.sqrt(((errors(1, 12, 0.1) / SD[:, None, None]) ** 2).mean()))  # without the bias, which is known
    # Six stations do not see six patterns a channel as well (.36 to .46), nor do they add much; 16 members: 1.06.
    assert error(analysis, world) < min(0.5 * without, 1.2 * own)
    learned = json.loads((tmp_path / "run" / "background_error.json").read_text())["background_error"]
    # Six patterns a channel, and some of the packing of the archive; the bias of 0.5 from 120 differences of .1: .01,
    # and more in msl.
    assert 12 <= learned["modes"] <= 30
    assert [learned["rms_bias"][c] for c in ("msl", "t2m")] == pytest.approx(list(0.5 * SD), rel=0.06)
    facts = next((tmp_path / "run" / "analyses" / method).glob("*_split00/provenance.json"))
    assert list(json.loads(facts.read_text())["inputs"]["background"]) == ["now.nc"]


def test_without_any_observation_it_is_prior_and_background(run: Run, world: World, tmp_path: Path) -> None:
    k = FIRST + 20
    past(world, tmp_path / "past.nc", 0.05)
    state = world.truth[k] + 0.5 * SD[:, None, None]
    write_netcdf(tmp_path / "now.nc", np.stack([state + e for e in errors(4, 9, 0.05)]), k)
    for method in ("gaussian", "kf"):
        ended = run(
            "assimilate", "--method", method, "--cycle", stamp(k), "--background", tmp_path / "now.nc",
            f"nwp.past=[{tmp_path / 'past.nc'}]",
        )  # fmt: skip
        assert ended.code == 0, ended.err
        assert "prior and the background that is given" in ended.err
        analysis, background = (published(tmp_path / "run", method, name, k) for name in ("analysis", "background"))
        # The mean of four states that err by .06, bias removed: .03; a mean of 8 members adds .02. Twice that.
        assert error(analysis, world, k) < 0.1 < error(background, world, k)


def test_the_error_is_learned_once_and_again_where_it_has_to_be(run: Run, world: World, tmp_path: Path) -> None:
    past(world, tmp_path / "past.nc", 0.3)
    write_netcdf(tmp_path / "now.nc", world.truth[FIRST][None], FIRST, members=False)
    common = "assimilate", "--method", "kf", *CYCLE, "--background", tmp_path / "now.nc"
    given = f"nwp.past=[{tmp_path / 'past.nc'}]"
    path = tmp_path / "run" / "background_error.nc"
    assert run(*common, given).code == 0
    first = path.stat().st_mtime_ns
    assert run(*common, given).code == 0 and path.stat().st_mtime_ns == first
    assert run(*common).code == 0 and path.stat().st_mtime_ns == first
    again = run(*common, given, "nwp.modes=2")
    assert again.code == 0 and "learned again" in again.err and path.stat().st_mtime_ns > first


def test_what_is_wrong_with_a_background_is_said(run: Run, world: World, tmp_path: Path) -> None:
    write_netcdf(tmp_path / "now.nc", world.truth[FIRST][None], FIRST, members=False)
    common = "assimilate", *CYCLE, "--background", tmp_path / "now.nc"
    ended = run(*common)
    assert ended.code == 2 and "nwp.past" in ended.err
    past(world, tmp_path / "past.nc", 0.3, range(20, 26))
    given = f"nwp.past=[{tmp_path / 'past.nc'}]"
    ended = run(*common, given)
    assert ended.code == 1 and "6 past states" in ended.err
    past(world, tmp_path / "past.nc", 0.3, range(100, FIRST + 1))
    ended = run(*common, given)
    assert ended.code == 2 and "nwp.period" in ended.err and "learned from" in ended.err
    before = f"nwp.period={{start: {TIMES[0]}, end: {TIMES[FIRST - 1]}}}"
    assert run(*common, given, before).code == 0
    past(world, tmp_path / "past.nc", 0.0)
    write_netcdf(tmp_path / "same.nc", world.truth[20:60], list(range(20, 60)), members=False)
    ended = run(*common, f"nwp.past=[{tmp_path / 'same.nc'}]", f"nwp.truth={{files: [{tmp_path / 'same.nc'}]}}")
    assert ended.code == 1 and "do not differ" in ended.err
    ended = run(*common, "--method", "letkf", given, before)
    assert ended.code == 2 and "--prior ensemble:PATH" in ended.err


def test_analyses_of_all_methods_are_forecast_by_one_model(run: Run, world: World, tmp_path: Path) -> None:
    write_netcdf(tmp_path / "ens.nc", members(world), FIRST)
    given = ("--prior", f"ensemble:{tmp_path / 'ens.nc'}")
    for method, also in (("kf", ()), ("letkf", given)):
        assert run("assimilate", *CYCLE, "--method", method, "--ensemble", "8", *also).code == 0
        ended = run("forecast", *CYCLE, "--method", method, "--lead", "18h", "--model", "linear")
        assert ended.code == 0, ended.err
        folder = next((tmp_path / "run" / "forecasts" / method).glob("*_split00"))
        found = [read_analysis(folder / f"forecast_{h:03d}h.nc") for h in (6, 12, 18)]
        assert all(f.attributes["model"] == "linear" for f in found)
        # An autoregression of .9 a step, known from 158 times: errors grow to sqrt(1 - .9^6) = .7 of the climate's 1.2.
        grown = [error(f, world, FIRST + k) for k, f in enumerate(found, start=1)]
        assert grown[0] < 1.2 and found[0].spread.mean() < found[2].spread.mean()
    ended = run("forecast", *CYCLE, "--method", "letkf", "--lead", "6h", f"assimilate.prior={given[1]}")
    assert ended.code == 2 and "--model linear" in ended.err
