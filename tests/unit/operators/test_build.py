"""From the observation table to H: what each row sees, what is flagged and why, and the derivatives of the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from stormda.config import OperatorConfig
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.observations import QC, Observations
from stormda.operators.base import jvp, vjp
from stormda.operators.build import build_operator
from stormda.operators.height import read_orography
from stormda.operators.level import level_factor, standard_geopotential
from stormda.types import Array
from stormda.variables import Channel

NOW, BEFORE = np.datetime64("2019-02-17T12", "s"), np.datetime64("2019-02-17T06", "s")
GRID = Grid.regular(np.arange(55.0, 29.0, -2.5), np.arange(-15.0, 16.0, 2.5))
NAMES = ("msl", "t2m", "z500", "t850", "u10", "v10", "u500", "v500")
CHANNELS = tuple(map(Channel.parse, NAMES))
EXACT = 1e-10  # values up to 1e5 with a few roundings: 1e5 * 2e-16 * 4


def config(**keys: Any) -> OperatorConfig:
    return OperatorConfig.model_validate(keys)


def rows(**columns: Any) -> Observations:
    n = max(len(c) for c in columns.values() if isinstance(c, (list, np.ndarray)))
    base: dict[str, Any] = {
        "report_id": "r", "station_id": "s", "platform": "synop", "source": "synop", "variable": ["msl"] * n,
        "time": np.full(n, NOW), "latitude": np.full(n, 41.0), "longitude": np.full(n, 3.0), "value": np.ones(n),
        "error": np.ones(n),
    }  # fmt: skip
    return Observations.of(base | columns)


def planes() -> Array:
    """Channel c is c + 1 times a bilinear field."""
    lat, lon = GRID.fields
    return np.stack([(c + 1) * bilinear(lat, lon) for c in range(len(CHANNELS))])


def bilinear(lat: Any, lon: Any) -> Any:
    return 100.0 + 2.0 * lat - 3.0 * lon + 0.125 * lat * lon


def apply(observations: Observations, configs: dict[str, OperatorConfig] | None = None, **keys: Any) -> Array:
    h, _, kept = build_operator(observations, GRID, CHANNELS, configs or {}, NOW, **keys)
    assert len(kept) == len(observations) == len(h)
    return h(torch.as_tensor(planes())[None])[0].numpy()


def test_each_variable_and_level_finds_its_channel() -> None:
    observations = rows(
        variable=["t", "msl", "z", "u10"],
        level=[850.0, np.nan, 500.0, np.nan],
        level_type=["pressure", "surface", "pressure", "surface"],
        latitude=np.array([31.0, 42.0, 55.0, 30.0]),
        longitude=np.array([-14.0, 2.2, 15.0, -15.0]),
    )
    expected = np.array([4, 1, 3, 5]) * bilinear(observations["latitude"], observations["longitude"])
    np.testing.assert_allclose(apply(observations), expected, atol=EXACT)


def test_what_cannot_be_used_is_flagged_with_its_reason() -> None:
    table = [
        # variable, level, level type, latitude, value, time, code that it has already -> code that it gets
        ("msl", np.nan, "surface", 41.0, 1.0, NOW, 0, QC.USED),
        ("msl", np.nan, "surface", 60.0, 1.0, NOW, 0, QC.OUTSIDE_GRID),
        ("msl", np.nan, "surface", np.nan, 1.0, NOW, 0, QC.MISSING),
        ("msl", np.nan, "surface", 41.0, np.nan, NOW, 0, QC.MISSING),
        ("msl", np.nan, "surface", 41.0, 1.0, np.datetime64("NaT", "s"), 0, QC.MISSING),
        ("msl", np.nan, "surface", 60.0, 1.0, NOW, QC.RANGE, QC.RANGE),
        ("t", 700.0, "pressure", 41.0, 1.0, NOW, 0, QC.NO_OPERATOR),
        ("t", 850.0, "height", 41.0, 1.0, NOW, 0, QC.NO_OPERATOR),
        ("t", np.nan, "pressure", 41.0, 1.0, NOW, 0, QC.NO_OPERATOR),
        ("ws10", np.nan, "surface", 41.0, 1.0, NOW, 0, QC.NO_OPERATOR),
        ("msl", np.nan, "surface", 41.0, 1.0, BEFORE, 0, QC.OUTSIDE_WINDOW),
        ("t", 850.0, "pressure", 41.0, 1.0, NOW, 0, QC.USED),
    ]
    names = ("variable", "level", "level_type", "latitude", "value", "time", "qc")
    columns = {name: list(column) for name, column in zip(names, list(zip(*table, strict=True))[:-1], strict=True)}
    columns["time"] = np.array(columns["time"])  # type: ignore[assignment]
    h, flagged, kept = build_operator(rows(**columns), GRID, CHANNELS, {}, NOW, (BEFORE, planes()))
    np.testing.assert_array_equal(flagged["qc"], [row[-1] for row in table])
    np.testing.assert_array_equal(kept, [0, 11])
    assert len(h) == 2


def test_withheld_rows_have_an_operator_too() -> None:
    _, _, kept = build_operator(rows(value=[1.0, 2.0], withheld=[True, False]), GRID, CHANNELS, {}, NOW)
    np.testing.assert_array_equal(kept, [0, 1])


def test_no_observation_at_all() -> None:
    h, flagged, kept = build_operator(Observations.empty(), GRID, CHANNELS, {}, NOW)
    assert h(torch.zeros(3, len(CHANNELS), *GRID.shape)).shape == (3, 0)
    assert len(flagged) == len(kept) == len(h) == 0


@pytest.mark.parametrize("error", [np.nan, 0.0, -1.0, np.inf])
def test_an_observation_needs_an_error(error: float) -> None:
    with pytest.raises(ConfigError) as caught:
        build_operator(rows(error=[1.0, error]), GRID, CHANNELS, {}, NOW)
    assert caught.value.key == "observations.sources.synop.errors.msl"


def test_another_channel_may_be_observed() -> None:
    observations = rows(variable=["t2m", "t"], level=[np.nan, 850.0], level_type=["surface", "pressure"])
    configs = {"t2m": config(channel="t850"), "t": config(channel="t2m")}
    np.testing.assert_allclose(apply(observations, configs), bilinear(41.0, 3.0) * np.array([4, 2]), atol=EXACT)


@pytest.mark.parametrize(
    ("variable", "keys", "key"),
    [
        ("t2m", {"channel": "z1000"}, "operators.t2m.channel"),
        ("msl", {"kind": "wind_speed"}, "operators.msl.kind"),
        ("ws10", {"kind": "wind_speed", "channel": "u10"}, "operators.ws10.channel"),
        ("msl", {"kind": "height"}, "operators.msl.kind"),
    ],
)
def test_an_operator_that_cannot_be_is_named(variable: str, keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_operator(rows(variable=[variable]), GRID, CHANNELS, {variable: config(**keys)}, NOW)
    assert caught.value.key == key


def write_orography(path: Path, latitude: Array, longitude: Array, values: Array, units: str = "m") -> Path:
    field = xr.DataArray(values[None], dims=("time", "latitude", "longitude"), attrs={"units": units})
    coordinates = {"latitude": latitude, "longitude": longitude}
    xr.Dataset({"orog": field}).assign_coords(coordinates).to_netcdf(path, engine="netcdf4")
    return path


def test_height_correction(tmp_path: Path) -> None:
    lat, lon = GRID.fields
    surface = 50.0 * (lat - 30.0) + 10.0 * lon
    write_orography(tmp_path / "orography.nc", GRID.latitude, GRID.longitude, surface)
    observations = rows(
        variable=["t2m"] * 3, elevation=np.array([0.0, 1200.0, np.nan]), latitude=np.array([41.0, 36.5, 41.0])
    )
    configs = {"t2m": config(kind="height", lapse_rate=0.005, orography="orography.nc")}
    h, flagged, kept = build_operator(observations, GRID, CHANNELS, configs, NOW, resolve=lambda p: tmp_path / p)
    np.testing.assert_array_equal(flagged["qc"], [QC.USED, QC.USED, QC.STATION_HEIGHT])
    # The surface is linear, so its height is exact: 580 m and 355 m; the lapse rate is 5 K km-1.
    expected = 2 * bilinear(np.array([41.0, 36.5]), 3.0) - 0.005 * np.array([0.0 - 580.0, 1200.0 - 355.0])
    np.testing.assert_allclose(h(torch.as_tensor(planes())).numpy(), expected, atol=EXACT)
    np.testing.assert_array_equal(kept, [0, 1])


def test_without_orography_there_is_no_height_correction() -> None:
    observations = rows(variable=["t2m"] * 2, elevation=np.array([1000.0, np.nan]))
    got = apply(observations, {"t2m": config(kind="height")})
    np.testing.assert_allclose(got, 2 * bilinear(41.0, 3.0), atol=EXACT)


def test_orography_of_another_direction_convention_unit_and_extent(tmp_path: Path) -> None:
    latitude, longitude = np.arange(20.0, 70.1, 2.5), np.arange(0.0, 360.0, 2.5)
    values = latitude[:, None] + np.cos(np.deg2rad(longitude))
    path = write_orography(tmp_path / "o.nc", latitude, longitude, values * 9.80665, "m**2 s**-2")
    lat, lon = GRID.fields
    np.testing.assert_allclose(read_orography(path, GRID, "k"), lat + np.cos(np.deg2rad(lon)), atol=EXACT)


def test_orography_that_does_not_fit(tmp_path: Path) -> None:
    values = np.ones(GRID.shape)
    with pytest.raises(InputMissing, match="does not exist"):
        read_orography(tmp_path / "none.nc", GRID, "operators.t2m.orography")
    (tmp_path / "text.nc").write_text("no NetCDF")
    with pytest.raises(InputError, match="cannot be read"):
        read_orography(tmp_path / "text.nc", GRID, "k")
    shifted = write_orography(tmp_path / "a.nc", GRID.latitude + 1.0, GRID.longitude, values)
    finer = write_orography(tmp_path / "b.nc", np.arange(30, 56, 0.5), np.arange(-15, 16, 0.5), np.ones((52, 62)))
    small = write_orography(tmp_path / "c.nc", GRID.latitude[1:], GRID.longitude, values[1:])
    for path in (shifted, finer, small):
        with pytest.raises(InputError, match="points of the state's grid"):
            read_orography(path, GRID, "k")
    with pytest.raises(InputError, match="unit 'feet'"):
        read_orography(write_orography(tmp_path / "d.nc", GRID.latitude, GRID.longitude, values, "feet"), GRID, "k")
    with pytest.raises(InputError, match="not finite"):
        hole = np.where(np.arange(values.size).reshape(values.shape) == 5, np.nan, values)
        read_orography(write_orography(tmp_path / "e.nc", GRID.latitude, GRID.longitude, hole), GRID, "k")


def test_levels_within_the_tolerance() -> None:
    observations = rows(
        variable=["t", "t", "t", "z", "u"],
        level=[850.0, 842.0, 839.0, 503.0, 495.0],
        level_type=["pressure"] * 5,
    )
    near = config(kind="level", tolerance=10.0)
    h, flagged, kept = build_operator(observations, GRID, CHANNELS, {"t": near, "z": near, "u": near}, NOW)
    np.testing.assert_array_equal(flagged["qc"] == QC.NO_OPERATOR, [False, False, True, False, False])
    f = bilinear(41.0, 3.0)
    t = 4 * f * np.array([1.0, (842 / 850) ** 0.190263])  # R Gamma / g = 287.05287 * 0.0065 / 9.80665
    z = 3 * f - 287.05287 * (288.15 - 0.0065 * 5551.0) * np.log(503 / 500)  # hydrostatic, T of the middle of the layer
    got = h(torch.as_tensor(planes())).numpy()
    np.testing.assert_allclose(got[:2], t, rtol=1e-7)  # the exponent is given to 2e-7, times ln(842/850) = 0.01
    np.testing.assert_allclose(got[2], z, atol=0.5)  # 5551 m: halfway between 5574 and 5528 m, to 5 m = 0.03 K = 0.1
    np.testing.assert_allclose(got[3], 7 * f, atol=EXACT)
    np.testing.assert_array_equal(kept, [0, 1, 3, 4])


def test_standard_atmosphere() -> None:
    # ICAO Doc 7488: geopotential heights of 1013.25, 850, 500, 250, 100 hPa.
    height = standard_geopotential(np.array([1013.25, 850.0, 500.0, 250.0, 100.0])) / 9.80665
    np.testing.assert_allclose(height, [0.0, 1457.3, 5574.4, 10362.9, 16179.7], atol=0.2)
    # Its temperature at 500 hPa is 251.92 K, from 281.65 K at 850 hPa less 6.5 K km-1.
    t850 = 288.15 - 0.0065 * 1457.3
    np.testing.assert_allclose(t850 * level_factor("t", np.array([500.0]), np.array([850.0])), 251.92, atol=0.01)


def test_wind_speed() -> None:
    observations = rows(
        variable=["ws10", "ws", "msl", "ws"],
        level=[np.nan, 500.0, np.nan, 850.0],
        level_type=["surface", "pressure", "surface", "pressure"],
    )
    configs = {"ws10": config(kind="wind_speed"), "ws": config(kind="wind_speed")}
    h, flagged, _ = build_operator(observations, GRID, CHANNELS, configs, NOW)
    np.testing.assert_array_equal(flagged["qc"], [0, 0, 0, QC.NO_OPERATOR])
    expected = abs(bilinear(41.0, 3.0)) * np.array([np.hypot(5, 6), np.hypot(7, 8), 1.0])
    np.testing.assert_allclose(h(torch.as_tensor(planes())).numpy(), expected, atol=EXACT)


def test_a_calm_has_a_gradient_of_zero() -> None:
    h, _, _ = build_operator(rows(variable=["ws10"]), GRID, CHANNELS, {"ws10": config(kind="wind_speed")}, NOW)
    x = torch.zeros(1, len(CHANNELS), *GRID.shape, dtype=torch.float64)
    assert h(x).item() == 0.0
    assert (vjp(h, x, torch.ones(1, 1, dtype=torch.float64)) == 0).all()
    assert (jvp(h, x, torch.ones_like(x)) == 0).all()


def everything(count: int = 60) -> tuple[Any, Observations]:
    """An operator with every kind of row, off-time."""
    rng = np.random.default_rng(4)
    kinds = [("msl", np.nan), ("ws10", np.nan), ("t", 846.0), ("z", 502.0), ("ws", 500.0), ("v10", np.nan)]
    chosen = [kinds[i] for i in rng.integers(0, len(kinds), count)]
    observations = rows(
        variable=[c[0] for c in chosen],
        level=[c[1] for c in chosen],
        level_type=["surface" if np.isnan(c[1]) else "pressure" for c in chosen],
        latitude=rng.uniform(30, 55, count),
        longitude=rng.uniform(-15, 15, count),
        time=BEFORE + rng.integers(1, 6 * 3600 + 1, count).astype("timedelta64[s]"),
    )
    wind, near = config(kind="wind_speed"), config(kind="level", tolerance=5.0)
    configs = {"ws10": wind, "ws": wind, "t": near, "z": near}
    previous = (BEFORE, rng.standard_normal((len(CHANNELS), *GRID.shape)))
    h, flagged, kept = build_operator(
        observations, GRID, CHANNELS, configs, NOW, previous, np.full_like(previous[1], 0.3)
    )
    assert len(kept) == count
    return h, flagged


def test_adjoint_dot_product_of_the_whole_stack() -> None:
    h, _ = everything()
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(2, len(CHANNELS), *GRID.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    w = torch.randn(2, 60, generator=generator, dtype=torch.float64)
    # 120 products of size 1, summed two ways: sqrt(120) eps = 3e-15; gradients of speed have 1/s, s rarely below 0.01.
    torch.testing.assert_close((w * jvp(h, x, v)).sum(), (vjp(h, x, w) * v).sum(), rtol=0, atol=1e-12)
    # Against a central difference: truncation eps^2 f''' / 6 with f''' up to 1/s^2 of a speed, rounding 2e-16 / eps.
    eps = 1e-5
    difference = (h(x + eps * v) - h(x - eps * v)) / (2 * eps)
    torch.testing.assert_close(jvp(h, x, v), difference, rtol=0, atol=1e-6)


def test_a_subset_is_the_rows_of_the_whole() -> None:
    h, observations = everything()
    x = torch.randn(3, len(CHANNELS), *GRID.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for keep in (observations["variable"] == "ws10", np.arange(60) % 2 == 0, np.ones(60, dtype=bool)):
        part, mask = h.subset(keep), torch.as_tensor(keep)
        torch.testing.assert_close(part(x), h(x)[:, mask], rtol=0, atol=0)
        torch.testing.assert_close(part.extra_variance, h.extra_variance[mask], rtol=0, atol=0)
        again = np.arange(len(part)) % 2 == 1
        torch.testing.assert_close(part.subset(again)(x), part(x)[:, torch.as_tensor(again)], rtol=0, atol=0)
