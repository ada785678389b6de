"""Radar files: every format by a file that is written here, the real ones where they are, and damaged ones."""

import gzip
import warnings
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
from pyproj import Geod
from radar_files import SHAPE, knmi, mrms, netcdf, odim_composite

from stormda.config import RadarSource
from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.sources.radar import form_of, read_radar
from stormda.sources.radar_beam import gate_heights, gate_places
from stormda.store.odim import Beam, write_volume

TIME = np.datetime64("2020-07-01T12:00:00", "s")
RAYS, GATES, STEP = 90, 100, 500.0
OFF = {"speckle": 0, "nearest": 0, "texture": 1e9, "highest": 1e6}  # no check but those that a test asks for
HALF_A_BYTE = 0.25  # dB: reflectivity is packed in steps of 0.5


def read(path: Path, **keys: Any) -> Observations:
    checks = OFF | keys.pop("checks", {})
    config = RadarSource.model_validate({"files": [str(path)], "cell": None, "checks": checks} | keys)
    return read_radar(config, "radar", Path)


def beam(elevation: float = 1.0, **more: Any) -> Beam:
    """Rain of 30 dBZ east of the radar, nothing in the west, not measured beyond gate 90; wind from the west."""
    azimuth = (np.arange(RAYS) + 0.5) * 360.0 / RAYS
    measured = np.broadcast_to(np.arange(GATES) < 90, (RAYS, GATES))
    rain = np.where((azimuth < 180.0)[:, None] & measured, 30.0, np.nan)
    wind = np.where(np.isfinite(rain), 10.0 * np.sin(np.deg2rad(azimuth))[:, None], np.nan)
    start = TIME + np.timedelta64(round(20 * elevation), "s")
    return Beam(
        elevation, start, start + np.timedelta64(20, "s"), STEP, {"DBZH": rain, "VRADH": wind} | more, measured, 25.0
    )


def volume(path: Path, *beams: Beam) -> Path:
    write_volume(path, "NOD:demo1,PLC:Demo", 52.0, 5.0, 100.0, beams or (beam(),))
    return path


def by(observations: Observations, variable: str) -> Observations:
    return observations.where(observations["variable"] == variable)


# --- geometry --------------------------------------------------------------------------------------------------------


def test_a_beam_bends_as_over_an_earth_of_four_thirds() -> None:
    # By hand, to second order: r sin e + (r cos e)^2 / (2 4/3 a); the next term is (r^2 / R)^2 sin^2 e / 8R: 1e-2 m.
    height = gate_heights(np.array([100e3]), np.array([0.5]), 50.0)
    angle = np.deg2rad(0.5)
    assert height[0] == pytest.approx(
        50.0 + 100e3 * np.sin(angle) + (100e3 * np.cos(angle)) ** 2 / 2 / 8494678.4, abs=0.5
    )


def test_places_are_on_the_geodesic() -> None:
    azimuth, distance = np.array([10.0, 123.0, 250.0]), np.array([500.0, 51_234.0, 249_876.0])
    latitude, longitude = gate_places(distance, azimuth, np.zeros(3), 60.0, 179.0)
    for i, a in enumerate(azimuth):
        for j, r in enumerate(distance):
            _, _, off = Geod(ellps="WGS84").inv(179.0, 60.0, longitude[i, j], latitude[i, j])
            ground = 8494945.067 * np.arcsin(r / np.hypot(r, 8494945.067))
            assert off == pytest.approx(ground, abs=5.0)  # nodes 10 km apart: 3 m at 60 degrees
            east, north, _ = Geod(ellps="WGS84").fwd(179.0, 60.0, a, ground)
            apart = Geod(ellps="WGS84").inv(east, north, longitude[i, j], latitude[i, j])[2]
            assert apart < 5.0
    assert (np.abs(longitude) <= 180.0).all()


# --- volumes ---------------------------------------------------------------------------------------------------------


def test_odim_tells_rain_no_rain_and_not_measured_apart(tmp_path: Path) -> None:
    dbz = by(read(volume(tmp_path / "v.h5"), no_echo=-5.0), "dbz")
    assert len(dbz) == RAYS * 90  # the last ten gates of each ray were not measured
    east = dbz["azimuth"] < 180.0
    np.testing.assert_allclose(dbz["value"][east], 30.0, atol=HALF_A_BYTE)
    assert (dbz["value"][~east] == -5.0).all()
    assert set(dbz["station_id"]) == {"demo1"} and set(dbz["level_type"]) == {"height"}
    gate = dbz["range"] == STEP * 20.5
    assert gate.any()
    expected = gate_heights(np.array([STEP * 20.5]), np.array([1.0]), 100.0)
    np.testing.assert_allclose(dbz["level"][gate], expected[0], atol=0.01)
    assert (dbz["longitude"][east] > 5.0).all() and dbz["time"].min() >= np.datetime64("2020-07-01T12")


def test_velocities_are_where_there_is_rain(tmp_path: Path) -> None:
    vr = by(read(volume(tmp_path / "v.h5")), "vr")
    assert len(vr) == RAYS * 90 // 2
    np.testing.assert_allclose(vr["value"], 10.0 * np.sin(np.deg2rad(vr["azimuth"])), atol=0.01)  # steps of 0.01


@pytest.mark.parametrize("form", ["cfradial1", "cfradial2", "gzip"])
def test_the_same_volume_in_other_formats(tmp_path: Path, form: str) -> None:
    import xradar

    path, other = volume(tmp_path / "v.h5", beam(), beam(3.0)), tmp_path / "other.nc"
    expected = read(path)
    if form == "gzip":
        other.write_bytes(gzip.compress(path.read_bytes()))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = xradar.io.open_odim_datatree(path, mask_and_scale=False).load()
            getattr(xradar.io, f"to_{form}")(tree, str(other))
        assert form_of(other) == (True, form)
    got = read(other)
    assert len(got) == len(expected)
    for column in ("value", "level", "latitude", "azimuth", "range"):
        # CfRadial 1 keeps azimuth, elevation and range in float32: 1e-7 of 50 km, of 360 degrees
        np.testing.assert_allclose(got[column], expected[column], atol=0.02 if column == "level" else 1e-4)


def test_one_mark_for_two_things_means_what_the_source_says(tmp_path: Path) -> None:
    path = volume(tmp_path / "v.h5")
    with h5py.File(path, "r+") as file:
        file["dataset1/data1/what"].attrs["nodata"] = 0.0
        data = file["dataset1/data1/data"]
        data[...] = np.where(data[...] == 255, 0, data[...])
    assert len(by(read(path), "dbz")) == RAYS * 90 // 2
    assert len(by(read(path, unclear="no_echo"), "dbz")) == RAYS * GATES


def test_a_second_scan_of_one_elevation_is_a_duplicate(tmp_path: Path) -> None:
    first = beam()
    alone = Beam(1.0, first.start, first.end, STEP, {"DBZH": first.values["DBZH"]}, first.measured)
    rows = read(volume(tmp_path / "v.h5", alone, beam(1.05), beam(3.0)))
    angle = rows["elevation_angle"]
    again = (angle > 1.01) & (angle < 1.1) & (rows["variable"] == "dbz")
    assert (rows["qc"][again] == QC.DUPLICATE).all() and (rows["qc"][~again] == QC.USED).all()


# --- super-observations ----------------------------------------------------------------------------------------------


def test_cells_hold_every_gate_once_with_mean_and_spread(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(30.0, 5.0, (RAYS, GATES))
    path = volume(tmp_path / "v.h5", beam(DBZH=noise))
    errors = {"dbz": {"instrument": 2.0, "representativeness": 1.0}}
    gates, cells = (by(read(path, cell=c, errors=errors), "dbz") for c in (None, 0.1))
    assert cells["count"].sum() == len(gates) == RAYS * 90
    assert len(cells) < len(gates) / 20
    cell = np.argmax(cells["count"])
    row, column = (np.round(cells[c][cell] / 0.1) for c in ("latitude", "longitude"))
    inside = (np.round(gates["latitude"] / 0.1) == row) & (np.round(gates["longitude"] / 0.1) == column)
    value = gates["value"][inside]
    assert len(value) == cells["count"][cell]
    assert cells["value"][cell] == pytest.approx(value.mean(), abs=1e-4)  # gates are float32: 30 * 6e-8 * 100
    assert cells["spread"][cell] == pytest.approx(value.std(), abs=1e-3)
    assert cells["error"][cell] == pytest.approx(np.sqrt(5.0 + value.var() / len(value)), abs=1e-3)
    for name in ("latitude", "longitude", "level", "range"):
        assert cells[name][cell] == pytest.approx(gates[name][inside].mean(), rel=1e-6)


def test_a_velocity_from_all_sides_is_no_velocity(tmp_path: Path) -> None:
    vr = by(read(volume(tmp_path / "v.h5"), cell=0.5), "vr")
    around = np.argmin(vr["range"])  # the cell of the radar sees half a circle: a mean unit vector of 2 / pi
    assert vr["qc"][around] == QC.BEAM and (vr["qc"] == QC.USED).any()


def test_rejected_gates_have_rows_of_their_own(tmp_path: Path) -> None:
    path = volume(tmp_path / "v.h5")
    rows = by(read(path, cell=0.1, checks={"nearest": 20_000.0}), "dbz")
    assert rows["count"][rows["qc"] == QC.BEAM].sum() == RAYS * 40
    assert rows["count"].sum() == RAYS * 90


def test_cells_across_the_date_line(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    write_volume(path, "NOD:x", 10.0, 180.0, 0.0, [beam()])
    rows = read(path, cell=1.0)
    assert set(np.round(rows["longitude"]) % 360.0) == {180.0}  # gates reach 45 km: all are in the cell of 180
    assert rows["count"].sum() == RAYS * 90 + RAYS * 45


# --- composites ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "variable", "wet", "interval", "corner"),
    [
        (odim_composite, "rr", 2.0, 0.0, (55.26, 9.70)),  # 29 km north and 19 km west of 55 N 10 E
        (knmi, "tp", 2e-3, 300.0, (55.97, 0.0)),  # the corner that such files give
        (mrms, "rr", 2.0, 0.0, (50.0, -100.0)),
        (netcdf, "tp", 2e-3, 600.0, (55.0, 10.0)),
    ],
)
def test_composites(
    tmp_path: Path, write: Any, variable: str, wet: float, interval: float, corner: tuple[float, float]
) -> None:
    path = tmp_path / "picture"
    write(path)
    rows = read(path)
    assert set(rows["variable"]) == {variable} and set(rows["interval"]) == {interval}
    assert len(rows) == SHAPE[0] * (SHAPE[1] - 1)  # the first column was not measured
    values, count = np.unique(np.round(rows["value"], 7), return_counts=True)
    np.testing.assert_allclose(values, [0.0, wet], atol=1e-6)  # GRIB: 16 bits of a range of 5 mm: 4e-5 at most
    assert set(count) == {20 * (SHAPE[1] - 1)}
    assert (rows["latitude"][rows["value"] > 0] < rows["latitude"][rows["value"] == 0].max()).all()
    north_west = np.array([rows["latitude"].max(), rows["longitude"].min()])
    np.testing.assert_allclose(north_west, corner, atol=0.05)  # of the second column: 2 km, 0.03 degrees
    assert (rows["time"] == np.datetime64("2020-07-01T12:00", "us")).all()
    assert len(set(rows["station_id"])) > 1  # by place, so that parts can be withheld


def test_pixels_of_low_quality_are_the_provider_s(tmp_path: Path) -> None:
    odim_composite(tmp_path / "c.h5")
    rows = read(tmp_path / "c.h5", checks={"quality": 0.5})
    share = (rows["qc"] == QC.PROVIDER).mean()
    assert share == pytest.approx(14 / 29)  # columns 1 to 14 of 1 to 29


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [volume, odim_composite, knmi, mrms, netcdf, lambda p: netcdf(p, "NETCDF3_CLASSIC")])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, write: Any, share: float) -> None:
    path = tmp_path / "cut"
    write(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError) as error:
        read(path)
    assert error.value.file == str(path) and error.value.key == "observations.sources.radar"


def test_what_is_no_radar_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="not a radar file"):
        read(tmp_path / "a.txt")
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("x", 2)
        file.createVariable("sst", "f4", ("x",))
    with pytest.raises(InputError, match="neither rain nor reflectivity"):
        read(tmp_path / "a.nc")
    with h5py.File(volume(tmp_path / "v.h5"), "r+") as file:
        for number in (1, 2):
            file[f"dataset1/data{number}/what"].attrs["quantity"] = np.bytes_("PHIDP" if number == 1 else "KDP")
    with pytest.raises(InputError, match="neither reflectivity nor radial velocity"):
        read(tmp_path / "v.h5")


# --- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "variables", "gates", "place"),
    [
        ("odim/knmi_polar_volume.h5", {"dbz"}, 1_353_600, (52.95, 4.79)),
        ("cfradial/*PRvel*", {"vr"}, 281_039, (26.15, 127.77)),
        ("cfradial/*_ppi.nc", {"dbz"}, 1665, (36.49, -97.59)),
        ("cfradial/*_rhi.nc", {"dbz"}, 1241, (36.49, -97.59)),
        ("knmi_2010-08-26/*0235.h5", {"tp"}, 137_229, (52.1, 5.2)),
        ("bom_66_2020-10-31/*_060000*", {"tp"}, 512 * 512, (-27.7, 153.2)),
    ],
)
def test_real_files(data_dir: Path, name: str, variables: set[str], gates: int, place: tuple[float, float]) -> None:
    path = next((data_dir / "radar").glob(name))
    rows = read_radar(RadarSource.model_validate({"files": [str(path)]}), "radar", Path)
    assert set(rows["variable"]) == variables
    assert rows["count"].sum() == gates  # every gate that was measured is in one row
    assert np.isfinite(rows["value"]).all() and not np.isnat(rows["time"]).any()
    middle = np.array([np.average(rows[c], weights=rows["count"]) for c in ("latitude", "longitude")])
    np.testing.assert_allclose(middle, place, atol=0.7)


@pytest.mark.realdata
def test_corners_of_a_real_composite_are_where_the_file_says(data_dir: Path) -> None:
    path = next((data_dir / "radar/knmi_2010-08-26").glob("*0235.h5"))
    from stormda.sources.radar_image import read_image

    image = read_image(path, "knmi", {}, False)[0]
    with h5py.File(path) as file:
        corners = np.asarray(file["geographic"].attrs["geo_product_corners"]).reshape(4, 2)  # from the south west on
    for (longitude, latitude), at in zip(corners, [(-1, 0), (0, 0), (0, -1), (-1, -1)], strict=True):
        assert image.latitude[at] == pytest.approx(latitude, abs=0.01)  # half a pixel: 0.7 km
        assert image.longitude[at] == pytest.approx(longitude, abs=0.015)


@pytest.mark.realdata
def test_whole_sweeps_of_a_cut_nexrad_file_are_read(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = next((data_dir / "radar/nexrad").glob("KLBB*"))
    cut = tmp_path / "KLBB"
    cut.write_bytes(whole.read_bytes()[:1_200_000])
    rows = read_radar(RadarSource.model_validate({"files": [str(cut)]}), "radar", Path)
    assert "ncomplete sweep" in caplog.text
    assert set(rows["station_id"]) == {"KLBB"} and set(rows["variable"]) == {"dbz"}
    assert rows["count"].sum() <= 720 * 1832  # one sweep of half a degree
    dry = (rows["qc"] == QC.USED) & (rows["value"] == 0.0)
    assert 0.2 < rows["count"][dry].sum() / rows["count"].sum() < 0.9  # code 0: the radar looked and saw nothing
    cut.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(InputError):
        read_radar(RadarSource.model_validate({"files": [str(cut)]}), "radar", Path)
