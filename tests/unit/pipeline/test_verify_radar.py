"""Fields of radar as a truth: boxes, what is not known, and a run from gridded rain to scores."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stormda import config as configuration
from stormda.config import Config
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.metrics.spatial import fss_terms
from stormda.observations import Observations
from stormda.pipeline.layout import analysis_folder
from stormda.pipeline.verify import verify
from stormda.pipeline.verify_radar import boxes
from stormda.store.analysis import read_analysis, write_analysis
from stormda.types import Array
from stormda.variables import Channel

TIME = np.datetime64("2019-02-17T12", "s")
GRID = Grid.regular(np.array([52.0, 51.0, 50.0, 49.0]), np.array([3.0, 4.0, 5.0, 6.0, 7.0]))
MEMBERS = 4


def _rows(latitude: list[float], longitude: list[float], value: list[float], **more: object) -> Observations:
    names = np.full(len(value), "", dtype=object)
    own = {"report_id": names, "station_id": "", "platform": "radar", "source": "radar", "variable": "rr"}
    places = {"latitude": np.array(latitude), "longitude": np.array(longitude), "value": np.array(value)}
    return Observations.of(own | {"time": np.full(len(value), TIME)} | places | more)


def test_a_box_is_the_mean_of_all_that_fell_into_it() -> None:
    # Two cells of one and of three pixels in the box of (51, 4), one in that of (49, 7), one beyond the grid.
    rows = _rows(
        [50.6, 51.4, 49.4, 53.0], [4.4, 3.6, 7.4, 5.0], [1.0, 3.0, 8.0, 99.0], count=np.array([1, 3, 4, 4], np.int32)
    )
    (seen,) = boxes(rows, GRID, TIME).values()
    value = seen["value"].reshape(GRID.shape)
    assert value[1, 1] == 2.5 and value[3, 4] == 8.0 and np.isfinite(value).sum() == 2


def test_a_box_at_the_rim_of_what_the_radar_sees_is_not_known() -> None:
    rows = _rows([52.0, 51.0, 50.0], [3.0, 3.0, 3.0], [1.0, 1.0, 1.0], count=np.array([10, 9, 4], np.int32))
    (seen,) = boxes(rows, GRID, TIME).values()
    assert np.isfinite(seen["value"].reshape(GRID.shape)[:, 0]).tolist() == [True, True, False, False]


def test_boxes_go_round_and_layers_stay_apart() -> None:
    around = Grid.regular(np.array([1.0, 0.0]), np.array([-180.0, -90.0, 0.0, 90.0]))
    heights = {"variable": "dbz", "level_type": "height", "level": np.array([900.0, 1100.0, 2400.0])}
    found = boxes(_rows([0.1, 0.1, 0.1], [179.0, -179.0, 179.0], [10.0, 20.0, 30.0], **heights), around, TIME)
    assert {n: (s["value"].reshape(2, 4)[1, 0], s["level"][0]) for n, s in found.items()} == {
        "dbz1000": (15.0, 1000.0),
        "dbz2000": (30.0, 2400.0),
    }


@pytest.mark.parametrize("periodic", [(False, False), (False, True)])
def test_unknown_points_belong_to_no_neighbourhood(periodic: tuple[bool, bool]) -> None:
    random = np.random.default_rng(2)
    members, truth = random.normal(size=(3, 7, 8)), random.normal(size=(7, 8))
    known = random.uniform(size=(7, 8)) < 0.6
    terms = fss_terms(members, np.where(known, truth, np.nan), 0.3, 3, periodic)
    for i, j in np.argwhere(known):
        near = [(a, b % 8 if periodic[1] else b) for a in range(i - 1, i + 2) for b in range(j - 1, j + 2)]
        near = [(a, b) for a, b in near if 0 <= a < 7 and 0 <= b < 8 and known[a, b]]
        f = np.mean([(members[:, a, b] >= 0.3).mean() for a, b in near])
        o = np.mean([truth[a, b] >= 0.3 for a, b in near])
        assert terms[i, j] == pytest.approx([(f - o) ** 2, f**2, o**2], abs=1e-12)  # sums of nine numbers


@pytest.fixture
def run(tmp_path: Path) -> Config:
    """Two analyses of rain with their backgrounds, the truth, and gridded rain with four pixels in each grid box."""
    random = np.random.default_rng(1)
    rain = np.maximum(random.gamma(0.5, 2.0, size=GRID.shape) - 0.3, 0.0)
    texture = np.tile([[0.1, -0.1], [-0.1, 0.1]], GRID.shape)  # no part of the mean of a box
    fine = np.kron(rain + 0.2, np.ones((2, 2))) + texture
    fine[:4, :4] = np.nan  # 2 x 2 boxes where the radar does not look
    quarter = np.array([0.25, -0.25])
    latitude, longitude = (GRID.latitude[:, None] + quarter).ravel(), (GRID.longitude[:, None] - quarter).ravel()
    units = {"units": "mm h-1", "standard_name": "lwe_precipitation_rate"}
    north, east = {"units": "degrees_north"}, {"units": "degrees_east"}
    for name, field, y, x in (
        ("rain_201902171200.nc", fine, latitude, longitude),
        ("truth.nc", rain + 0.2, GRID.latitude, GRID.longitude),
    ):
        coordinates = {"time": [TIME.astype("datetime64[ns]")], "lat": ("lat", y, north), "lon": ("lon", x, east)}
        data = xr.Dataset({"rr": (("time", "lat", "lon"), field[None], units)}, coordinates)
        data.to_netcdf(tmp_path / name, engine="netcdf4")
    radar = {"files": [str(tmp_path / "rain_%Y%m%d%H%M.nc")], "cell": None, "checks": {"speckle": 0}}
    verification = {
        "truth": {"files": [str(tmp_path / "truth.nc")], "variables": {"rr": "rr"}},
        "radar": radar,
        "against": ["truth"],
        "thresholds": {"rr": [0.5]},
        "report": True,
    }
    base = {"channels": ["rr"], "run_dir": str(tmp_path / "run"), "verify": verification}
    config = configuration.load(None, base=base)
    for hours, error in ((0, 1.0), (6, 1.0)):
        time = TIME + np.timedelta64(hours, "h")
        for side, share in (("background", 1.0), ("analysis", 0.5)):
            members = rain + error * share * np.abs(random.normal(size=(MEMBERS, 1, *GRID.shape)))
            path = analysis_folder(config, "gaussian", time, 0) / f"{side}.nc"
            write_analysis(
                path, iter(members), count=MEMBERS, channels=(Channel("rr"),), grid=GRID, time=time, attributes={}
            )
    return config


def _known(members: Array) -> Array:
    keep = np.ones(GRID.shape, dtype=bool)
    keep[:2, :2] = False
    return np.asarray(members[..., keep])


def test_gridded_rain_is_a_truth_where_the_radar_looks(run: Config) -> None:
    result = verify(run)
    rows = {row.target: row for row in result.rows}
    assert set(rows) == {"truth", "radar"} and rows["truth"].n == 20 and rows["radar"].n == 16
    with xr.open_dataset(Path(run.run).parent / "truth.nc") as data:
        truth = data["rr"].values[0]
    folder = analysis_folder(run, "gaussian", TIME, 0)
    members = np.asarray(read_analysis(folder / "analysis.nc").state.values[:, 0], dtype=np.float64)
    weight = _known(GRID.weights)
    error = _known(members.mean(axis=0)) - _known(truth)
    analysis = rows["radar"].analysis
    assert analysis is not None
    # Fields are stored in single precision: 2^-24 of a few mm h-1.
    assert analysis.scores["rmse"].value == pytest.approx(np.sqrt(np.average(error**2, weights=weight)), rel=1e-5)
    events = {(e.target, e.side): e for e in result.more.events}
    yes, seen = (_known(members) >= 0.5).mean(axis=0) >= 0.5, _known(truth) >= 0.5
    hits, misses, false = (np.sum(weight[w]) for w in (yes & seen, ~yes & seen, yes & ~seen))
    assert events["radar", "analysis"].scores["csi"].value == pytest.approx(hits / (hits + misses + false))
    assert {f.width for f in result.more.fractions if f.target == "radar"} == {1, 3, 5}
    assert any(line.startswith("no radar field at 1 of 2 cycles (2019-02-17T18") for line in result.missing)
    assert "Against radar fields" in Path(result.files[1]).read_text()


def test_a_field_that_comes_late_and_one_that_is_damaged(run: Config) -> None:
    folder = Path(run.run).parent
    whole = folder / "rain_201902171200.nc"
    late = folder / "rain_201902171800.nc"
    verify(run)
    late.write_bytes(whole.read_bytes()[:300])
    result = verify(run)
    assert any("rain_201902171800.nc" in line and "verify.radar" in line for line in result.missing)
    assert {row.target: row.n for row in result.rows} == {"truth": 20, "radar": 16}
    with xr.open_dataset(whole) as data:
        shifted = data.load().assign_coords(time=data["time"] + np.timedelta64(6, "h"))
    shifted.to_netcdf(late, engine="netcdf4")
    assert {row.target: row.n for row in verify(run).rows} == {"truth": 20, "radar": 32}


def test_reflectivity_without_an_operator_is_told(run: Config) -> None:
    folder = Path(run.run).parent
    with xr.open_dataset(folder / "rain_201902171200.nc") as data:
        echo = data.load()
    echo["rr"].attrs = {"units": "dBZ", "standard_name": "equivalent_reflectivity_factor"}
    echo.to_netcdf(folder / "rain_201902171200.nc", engine="netcdf4")
    with pytest.raises(ConfigError, match="nothing maps the state to dbzc"):
        verify(run)
