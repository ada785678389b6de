"""`inspect` recognises everything that stormda writes by what it holds, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file

from stormda import config as configuration
from stormda.config import Harmonics
from stormda.errors import ConfigError, InputError, InputMissing
from stormda.grid import Grid
from stormda.nn.weights import Weights, save_weights
from stormda.normaliser import Normaliser
from stormda.observations import QC, Observations
from stormda.pipeline.inspect import Inspection, inspect
from stormda.state import State
from stormda.store.analysis import write_analysis
from stormda.store.archive import write_archive
from stormda.store.feedback import write_feedback
from stormda.store.observations import Input, ObservationStore
from stormda.store.provenance import provenance
from stormda.store.publish import write_json
from stormda.types import Array
from stormda.variables import Channel

TIME = np.datetime64("2019-02-17T12", "s")
CHANNELS = (Channel.parse("msl"), Channel.parse("t850"))
GRID = Grid.regular(np.array([60.0, 0.0]), np.array([0.0, 10.0, 20.0]))


def fact(found: Inspection, name: str) -> str:
    return dict(found.facts)[name]


def observations() -> Observations:
    n = 6
    return Observations.of(
        {
            "report_id": "r", "station_id": "s", "platform": "synop", "source": ["synop"] * 4 + ["temp"] * 2,
            "variable": ["msl"] * 4 + ["t"] * 2, "level": [np.nan] * 4 + [850.0] * 2, "time": np.full(n, TIME),
            "latitude": np.zeros(n), "longitude": np.zeros(n), "value": np.array([3.0, 4.0, 9.0, 9.0, 1.0, 1.0]),
            "error": 1.0, "qc": [0, 0, int(QC.BACKGROUND), 0, 0, int(QC.NO_OPERATOR)],
            "withheld": [False, False, False, True, False, False],
        }
    )  # fmt: skip


def ensemble(path: Path) -> Path:
    # Two members, 1 above and 1 below: mean as given, spread sqrt(2). Rows weigh cos 60 = 1/2 and cos 0 = 1.
    mean = np.stack([np.array([[100000.0] * 3, [103000.0] * 3]), np.array([[270.0] * 3, [285.0] * 3])])
    members = np.stack([mean + 1.0, mean - 1.0])
    attributes = {"title": "stormda analysis, test", "method": "gaussian"}
    carry = np.eye(5)
    write_analysis(path, members, count=2, channels=CHANNELS, grid=GRID, time=TIME, attributes=attributes, carry=carry)
    return path


def test_an_ensemble_whatever_its_name(tmp_path: Path) -> None:
    found = inspect(ensemble(tmp_path / "background.nc"))
    assert found.kind == "ensemble"
    assert fact(found, "time") == "2019-02-17T12:00Z"
    assert fact(found, "grid") == "2 x 3, 0..60N 0..20E"
    assert fact(found, "members") == "2"
    assert fact(found, "method") == "gaussian"
    assert fact(found, "error covariance") == "5 modes"
    assert found.columns == ("channel", "unit", "mean", "minimum", "maximum", "spread")
    # Weighted means: (100000 + 2 * 103000) / 3 = 102000 and (270 + 2 * 285) / 3 = 280.
    assert found.rows[0] == ("msl", "Pa", "102000", "100000", "103000", "1.414")
    assert found.rows[1] == ("t850", "K", "280", "270", "285", "1.414")
    title, columns, rows = found.table()
    assert title.startswith(f"ensemble: {tmp_path}") and "members           2" in title
    assert (columns[0], rows[1][0]) == ("channel", "t850")


def test_feedback_counts_by_code(tmp_path: Path) -> None:
    background, analysis = np.zeros((2, 6)), np.tile([2.0, 3.0, 0.0, 0.0, 1.0, np.nan], (2, 1))
    background[:, 5] = np.nan
    write_feedback(tmp_path / "f.nc", observations(), background, analysis, {"method": "gaussian"})
    found = inspect(tmp_path / "f.nc")
    assert found.kind == "feedback"
    counts = {name: value for name, value in found.facts if name.startswith("qc ")}
    assert counts == {"qc used": "3", "qc used, but withheld": "1", "qc background": "1", "qc no operator": "1"}
    assert fact(found, "members") == "2"
    # msl: O-B 3, 4 and, withheld, 9: mean 5.333, rms sqrt(106/3) = 5.944; O-A 1, 1, 9: rms sqrt(83/3) = 5.26.
    assert found.rows[0] == ("synop", "msl", "4", "2", "1", "1", "5.333", "5.944", "5.26")
    assert found.rows[1] == ("temp", "t", "2", "1", "0", "1", "1", "1", "0")


def test_feedback_without_observations(tmp_path: Path) -> None:
    write_feedback(tmp_path / "f.nc", Observations.empty(), np.zeros((2, 0)), np.zeros((2, 0)), {})
    found = inspect(tmp_path / "f.nc")
    assert fact(found, "values") == "0"
    assert ["values", "0"] in found.table()[2]


def archive(path: Path) -> Path:
    times = TIME + np.arange(8) * np.timedelta64(6, "h")
    values = np.random.default_rng(0).standard_normal((8, 2, *GRID.shape)) + np.array([1e5, 280.0])[:, None, None]
    state = State(values, CHANNELS, GRID, times)
    harmonics = Harmonics.model_validate({"annual": 0, "diurnal": 0})
    step = np.timedelta64(6 * 3600, "s")
    write_archive(path, [state], step=step, harmonics=harmonics, train=None, provenance={})
    return path


def test_an_archive(tmp_path: Path) -> None:
    found = inspect(archive(tmp_path / "archive.zarr"))
    assert found.kind == "archive"
    assert fact(found, "times") == "8, 2019-02-17T12:00Z to 2019-02-19T06:00Z"
    assert fact(found, "step") == "6 h"
    assert fact(found, "channels") == "msl, t850"
    assert [row[0] for row in found.rows] == ["msl", "t850"]


def test_an_observation_store(tmp_path: Path) -> None:
    store = ObservationStore(tmp_path / "observations")
    store.add(observations().where(np.arange(6) < 4), "synop", Input("a.csv"))
    store.add(observations().where(np.arange(6) >= 4), "temp", Input("b.bufr"))
    found = inspect(tmp_path / "observations")
    assert found.kind == "observation store"
    assert fact(found, "values") == "6"
    assert found.rows[0] == ("synop", "1", "4", "2019-02-17T12:00Z", "2019-02-17T12:00Z")


def weights(path: Path) -> Path:
    normaliser = Normaliser(CHANNELS, np.zeros((1, 2, *GRID.shape)), np.ones(2), annual=0, diurnal=0)
    tensors, step = {"a": torch.zeros(3, 4), "b": torch.zeros(5)}, np.timedelta64(6 * 3600, "s")
    card = {"scores": {"rmse": {"msl": 0.25}}}
    save_weights(path, Weights(tensors, normaliser, GRID, step, {"width": 96}, (0.01, 80.0), card))
    return path


@pytest.mark.parametrize("name", ["weights.safetensors", "a.bin"])
def test_weights(tmp_path: Path, name: str) -> None:
    found = inspect(weights(tmp_path / name))
    assert found.kind == "weights"
    assert (fact(found, "parameters"), fact(found, "grid")) == ("17", "2 x 3, 0..60N 0..20E")
    assert (fact(found, "channels"), fact(found, "noise levels")) == ("msl, t850", "0.01 to 80")
    assert (fact(found, "architecture.width"), fact(found, "scores.rmse.msl")) == ("96", "0.25")


def test_provenance(tmp_path: Path) -> None:
    write_json(
        tmp_path / "provenance.json", provenance("name: a", cycle="2019-02-17T12:00Z", counts={"synop": {"used": 3}})
    )
    found = inspect(tmp_path / "provenance.json")
    assert found.kind == "provenance"
    assert fact(found, "cycle") == "2019-02-17T12:00Z"
    assert fact(found, "counts.synop.used") == "3"


def side(rmse: float | None) -> dict[str, object]:
    return {"scores": {"rmse": {"value": rmse, "low": 0.0, "high": 9.0}, "crps": {"value": 0.5}}}


def test_scores_of_verify_and_of_twin(tmp_path: Path) -> None:
    row = {"target": "truth", "variable": "msl", "unit": "Pa", "n": 143, "background": side(4.0), "analysis": side(1.0)}
    tree = {"scores": {"method": "gaussian", "rows": [row]}, "by_cycle": [], "provenance": provenance("a")}
    write_json(tmp_path / "scores.json", tree)
    found = inspect(tmp_path / "scores.json")
    assert found.kind == "scores"
    assert found.columns == ("target", "variable", "n", "rmse", "crps")
    assert found.rows == (("truth", "msl [Pa]", "143", "4 > 1", "0.5 > 0.5"),)
    assert fact(found, "method") == "gaussian"

    scores = {"kf": {"rmse": {"value": 1.61, "low": 1.5, "high": 1.7}, "spread_skill": 1.02, "rank_counts": [1, 2, 3]}}
    write_json(tmp_path / "twin.json", {"scores": scores, "series": {}, "provenance": {}})
    found = inspect(tmp_path / "twin.json")
    assert found.columns == ("method", "rmse", "spread_skill")
    assert found.rows == (("kf", "1.61", "1.02"),)


def test_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: europe\nchannels: [msl, z500]\n")
    found = inspect(tmp_path / "config.yaml")
    assert found.kind == "configuration"
    assert fact(found, "channels") == "msl, z500"
    assert fact(found, "window") == "(cycle - 6 h, cycle + 0 h]"
    (tmp_path / "resolved.yaml").write_text(configuration.dump(configuration.load(tmp_path / "config.yaml")))
    assert inspect(tmp_path / "resolved.yaml").facts[0] == ("name", "europe")
    (tmp_path / "wrong.yaml").write_text("channels: [msl]\nassimilat: {}\n")
    with pytest.raises(ConfigError, match="assimilat"):
        inspect(tmp_path / "wrong.yaml")


def cut(path: Path, name: str, share: float = 0.5) -> Path:
    data = path.read_bytes()
    (path.parent / name).write_bytes(data[: int(len(data) * share)])
    return path.parent / name


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        inspect(tmp_path / "none.nc")


def test_truncated_files(tmp_path: Path) -> None:
    weights(tmp_path / "w.safetensors")
    write_json(tmp_path / "p.json", provenance("a"))
    write_feedback(tmp_path / "f.nc", observations(), np.zeros((2, 6)), np.zeros((2, 6)), {})
    truncated = [
        cut(ensemble(tmp_path / "a.nc"), "half.nc"),
        cut(tmp_path / "f.nc", "most.nc", 0.95),
        cut(tmp_path / "w.safetensors", "half.safetensors"),
        cut(tmp_path / "w.safetensors", "head.safetensors", 0.01),
        cut(tmp_path / "p.json", "half.json"),
        cut(tmp_path / "p.json", "empty.json", 0.0),
    ]
    for path in truncated:
        with pytest.raises(InputError) as caught:
            inspect(path)
        assert caught.value.file == str(path)


def test_foreign_files(tmp_path: Path) -> None:
    values: Array = np.arange(3)
    xr.Dataset({"a": ("x", values)}).to_netcdf(tmp_path / "foreign.nc", engine="netcdf4")
    (tmp_path / "foreign.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "scores.json").write_text('{"scores": [1, 2]}')
    (tmp_path / "rows.json").write_text('{"scores": {"rows": [{"a": 1}]}}')
    save_file({"a": np.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.txt").write_text("some words that mean nothing")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    (tmp_path / "empty folder").mkdir()
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError):
            inspect(path)


def analysed(folder: Path) -> Path:
    """A whole analysis: spread sqrt(2) before and after, see `ensemble`."""
    folder.mkdir(parents=True)
    ensemble(folder / "analysis.nc")
    ensemble(folder / "background.nc")
    write_feedback(folder / "feedback.nc", observations(), np.zeros((2, 6)), np.zeros((2, 6)), {})
    write_json(folder / "provenance.json", provenance("name: a"))
    (folder / "config.yaml").write_text("channels: [msl]\n")
    return folder


def test_the_folder_of_an_analysis(tmp_path: Path) -> None:
    found = inspect(analysed(tmp_path / "20190217T1200Z"))
    assert found.kind == "analysis"
    assert [fact(found, name) for name in ("cycle", "method", "members")] == ["2019-02-17T12:00Z", "gaussian", "2"]
    counts = {name: value for name, value in found.facts if name.startswith("observations: ")}
    assert counts == {
        "observations: used": "3",
        "observations: used, but withheld": "1",
        "observations: background": "1",
        "observations: no operator": "1",
    }
    files = ["analysis.nc", "background.nc", "feedback.nc", "config.yaml", "provenance.json"]
    assert [name for name, _ in found.facts if "." in name] == files
    assert found.columns[-2:] == ("spread of background", "spread of analysis")
    assert found.rows[0] == ("msl", "Pa", "102000", "1.414", "1.414")


def test_the_folder_of_an_analysis_with_parts_missing_damaged_and_strange(tmp_path: Path) -> None:
    folder = analysed(tmp_path / "a")
    cut(folder / "background.nc", "background.nc")
    cut(folder / "provenance.json", "provenance.json")
    (folder / "feedback.nc").unlink()
    (folder / "notes.txt").write_text("")
    (folder / "report.html").write_text("")
    found = inspect(folder)
    assert fact(found, "members") == "2" and fact(found, "made") == "-"
    assert fact(found, "background.nc").startswith("the file is truncated")
    assert fact(found, "provenance.json").startswith("truncated or not JSON")
    assert (fact(found, "feedback.nc"), fact(found, "notes.txt")) == ("missing", "not by stormda")
    assert "report.html" in dict(found.facts) and found.rows[0][-2:] == ("-", "1.414")
    cut(folder / "analysis.nc", "analysis.nc")
    with pytest.raises(InputError, match="truncated"):
        inspect(folder)


def test_the_folder_of_a_forecast(tmp_path: Path) -> None:
    for name in ("forecast_006h.nc", "forecast_120h.nc"):
        ensemble(tmp_path / name)
    found = inspect(tmp_path)
    assert found.kind == "forecast"
    assert [fact(found, name) for name in ("cycle", "method", "members")] == ["-", "gaussian", "2"]
    assert [row[:3] for row in found.rows[::2]] == [(h, "2019-02-17T12:00Z", "msl") for h in ("6h", "120h")]
    assert found.rows[0][3:] == ("Pa", "102000", "1.414")
    (tmp_path / "forecast_012h.nc").write_bytes(b"")
    with pytest.raises(InputError, match="forecast_012h"):
        inspect(tmp_path)


def test_a_run_says_which_stages_are_done(tmp_path: Path) -> None:
    def done() -> dict[str, tuple[str, str]]:
        found = inspect(tmp_path)
        assert (found.kind, found.columns) == ("run", ("stage", "product", "done", "what is there"))
        return {product: (state, words) for _, product, state, words in found.rows}

    ObservationStore(tmp_path / "observations").add(observations(), "synop", Input("a.csv"))
    states = done()
    assert states["observations"] == ("yes", "synop: 6 values")
    others = ["archive.zarr", "weights.safetensors", "analyses", "forecasts", "verification", "twin"]
    assert {name: state for name, (state, _) in states.items() if name != "observations"} == dict.fromkeys(others, "no")

    (tmp_path / "training").mkdir()
    assert done()["weights.safetensors"] == ("no", "begun: stormda train goes on with it")
    weights(tmp_path / "weights.safetensors")
    assert done()["weights.safetensors"] == ("yes", "17 parameters; msl, t850")

    gaussian = tmp_path / "analyses" / "gaussian"
    for name in ("20190217T1200Z_split00", "20190217T1200Z_split01", "20190218T1200Z_split00"):
        analysed(gaussian / name)
    (gaussian / ".20190219T1200Z.partial").mkdir()  # half-made
    (tmp_path / "analyses" / "kf").mkdir()
    write_json(tmp_path / "verification" / "gaussian" / "scores.json", {"provenance": {"created": "2020"}})
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "scores.json").write_text("{")
    states = done()
    assert states["analyses/gaussian"] == ("yes", "2 cycles, 2019-02-17T12:00Z to 2019-02-18T12:00Z; 2 splits")
    assert states["analyses/kf"] == ("no", "there are none yet")
    assert states["verification/gaussian"] == ("yes", "made 2020")
    assert states["twin"][0] == "damaged"


def test_the_archive_of_a_run(tmp_path: Path) -> None:
    archive(tmp_path / "archive.zarr")
    (row,) = [row for row in inspect(tmp_path).rows if row[1] == "archive.zarr"]
    assert row[2:] == ("yes", "8 times, 2019-02-17T12:00Z to 2019-02-19T06:00Z; msl, t850")


def test_any_other_folder_says_what_is_inside(tmp_path: Path) -> None:
    ensemble(tmp_path / "a.nc")
    with pytest.raises(InputError) as caught:
        inspect(tmp_path)
    assert caught.value.hint == "name one of: a.nc"
