"""Forecasts from analyses in one model: from the truth they are perfect, their scores and shock are what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.config import Config, load
from stormda.errors import ConfigError
from stormda.grid import Grid
from stormda.pipeline import cycling
from stormda.pipeline.cycling import fingerprint
from stormda.pipeline.twin import twin
from stormda.pipeline.twin_forecast import Forecaster, common_model, leads, spectra_of, summarise
from stormda.pipeline.worlds import World, world_config, world_of


def experiment(folder: Path, *overrides: str) -> Config:
    base = {"name": "t", "run_dir": str(folder), "channels": ["x0"], "twin": {"world": {"kind": "lorenz96"}}}
    small = ["twin.world.dimension=12", "twin.cycles=14", "twin.spin_up=2", "twin.train_steps=600",
             "twin.network.count=12", "gaussian.modes=12", "assimilate.ensemble=4", "assimilate.batch=4"]  # fmt: skip
    return world_config(load(None, [*small, *overrides], base))


def test_members_that_are_the_truth_are_perfect_for_ever(tmp_path: Path) -> None:
    config = experiment(tmp_path, "twin.forecast={hours: 24, every: 3}")
    world = world_of(config, 0)
    forecaster = Forecaster(config, world, common_model(config))
    # Starts: 2, 5, 8; at 11 the last of four leads would be 15, and the truth ends at 13.
    starts = [k for k in range(14) if forecaster.wants(k)]
    assert starts == [2, 5, 8]
    for k in starts:
        forecaster(k, torch.as_tensor(world.values[k])[None].repeat(4, 1, 1, 1), world.grid)
    found = summarise([forecaster.result()], np.ones(1), 6.0)
    assert found["hours"] == [0.0, 6.0, 12.0, 18.0, 24.0] and found["starts"] == 3
    # The truth was made by the same steps in single precision: the same numbers, up to the order of sums in a batch,
    # 1e-6 of 10, which four steps do not double.
    assert max(v["value"] for v in found["rmse"]) < 1e-4 and max(v["value"] for v in found["crps"]) < 1e-4
    assert found["shock"]["value"] == pytest.approx(1.0, abs=1e-5)
    spectra = spectra_of([forecaster.result()])
    np.testing.assert_allclose(spectra["members"], spectra["truth"], atol=1e-5)
    assert np.sum(spectra["truth"][0]) == pytest.approx(1.0)


def test_scores_are_those_of_the_definition(tmp_path: Path) -> None:
    """A model that adds 1 a step; members 0 and 2 of a constant field, a truth of 0: everything is known by hand."""
    config = experiment(tmp_path, "twin.forecast={hours: 12, every: 1}", "twin.cycles=5")
    grid = Grid(np.linspace(60, 0, 3), np.arange(4.0))
    times = np.datetime64("2001-01-01T00", "s") + np.arange(5) * np.timedelta64(21600, "s")
    ramp = np.arange(12.0).reshape(3, 4)
    world = World(times, np.stack([np.stack([ramp + 2 * k]) for k in range(5)]), grid)
    model = common_model(config)
    plus = type(model)("plus", lambda x, time: x + 1, lambda x, time: x + 1)
    forecaster = Forecaster(config, world, plus)
    assert [k for k in range(5) if forecaster.wants(k)] == [2]
    x = torch.as_tensor(np.stack([world.values[2] + d for d in (0.0, 2.0)]))
    forecaster(2, x, grid)
    r = forecaster.result()
    # Mean error 1, 0, -1: the truth climbs by 2 a step. Unbiased variance of {0, 2}: 2, times 1 + 1/2. Fair CRPS:
    # mean |x_i - y| - |x_1 - x_2| / 2 (both orders, over 2 M (M - 1) = 4).
    np.testing.assert_allclose(r.mse[0, :, 0], [1.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(r.variance[0, :, 0], [3.0, 3.0, 3.0], atol=1e-12)
    np.testing.assert_allclose(r.crps[0, :, 0], [1.0 - 1.0, 1.0 - 1.0, 1.0 - 1.0], atol=1e-12)
    # All tendencies are 1. A constant offset has no power about the mean of the field.
    np.testing.assert_allclose(r.shock[0, 0], [1.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(r.power[:, 0, 0], r.power[:, 0, 1], atol=1e-9)


def test_noise_of_the_smallest_scale_shocks(tmp_path: Path) -> None:
    config = experiment(tmp_path, "twin.forecast={hours: 6}")
    world = world_of(config, 0)
    forecaster = Forecaster(config, world, common_model(config))
    jagged = torch.tensor([3.0, -3.0]).repeat(6)
    x = torch.as_tensor(world.values[2])[None] + torch.stack([jagged, -jagged]).view(2, 1, 1, 12)
    forecaster(2, x.float(), world.grid)
    # A jump of 6 between neighbours in x_{k-1} (x_{k+1} - x_{k-2}) moves each by several units; nature moves slower.
    assert summarise([forecaster.result()], np.ones(1), 6.0)["shock"]["value"] > 1.2


def test_the_experiment_keeps_forecasts_and_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path, "twin.methods=[kf, oi]", "twin.forecast={hours: 12, every: 2}")
    result = twin(config)
    assert result.model == "nature"
    columns, rows = result.table()[1:]
    assert {"RMSE +6 h", "CRPS +12 h", "shock"} <= set(columns) and all(len(r) == len(columns) for r in rows)
    rmse = {m: [v["value"] for v in s["forecast"]["rmse"]] for m, s in result.scores.items()}
    assert all(0 < v < 10 for values in rmse.values() for v in values)
    names = {Path(name).name for name in result.files}
    assert {"forecast.json", "forecast.png", "spectra.png"} <= names
    kept = json.loads((tmp_path / "twin" / "forecast.json").read_text())
    assert kept["forecasts"]["kf"]["rmse"][0]["value"] == rmse["kf"][0]

    def again(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(cycling, "_cycle", again)
    monkeypatch.setattr(cycling, "world_of", again)
    assert twin(config).scores == result.scores
    plain = twin(experiment(tmp_path, "twin.methods=[kf, oi]"))  # the runs themselves do not depend on forecasts
    assert plain.model is None and plain.scores["kf"]["rmse"] == result.scores["kf"]["rmse"]
    other = experiment(tmp_path, "twin.methods=[kf, oi]", "twin.forecast={hours: 18, every: 2}")
    assert fingerprint(config, "kf") == fingerprint(other, "kf")
    assert fingerprint(config, "kf", forecasts=True) != fingerprint(other, "kf", forecasts=True)


def test_an_archive_is_forecast_by_its_linear_model(tmp_path: Path) -> None:
    config = experiment(tmp_path, "twin.methods=[kf]", "twin.forecast={hours: 12, every: 2}")
    twin(config)  # writes the archive
    tree = {"name": "t", "run_dir": str(tmp_path), "channels": ["x0"]}
    overrides = [
        "archive.plane=true", "archive.climatology={annual: 0, diurnal: 0}", "assimilate.ensemble=4",
        "archive.train={start: 2001-01-01, end: 2001-04-30}", "twin.start=2001-05-02T00Z", "twin.cycles=12",
        "twin.spin_up=2", "twin.network.count=12", "twin.methods=[kf, gaussian]", "gaussian.modes=12",
        "twin.forecast={hours: 18, every: 1}",
    ]  # fmt: skip
    result = twin(load(None, overrides, tree))
    assert result.model == "linear"
    for scores in result.scores.values():
        rmse = [v["value"] for v in scores["forecast"]["rmse"]]
        assert scores["forecast"]["starts"] == 7 and rmse[-1] > rmse[0]
    with pytest.raises(ConfigError, match="6 h apart|12 h apart") as error:
        twin(load(None, [*overrides, "assimilate.step=12h", "twin.cycles=8"], tree))
    assert error.value.key == "assimilate.step"


def test_what_cannot_be_forecast_is_said(tmp_path: Path) -> None:
    assert leads(experiment(tmp_path)) == 0
    for hours in ("3", "72"):
        with pytest.raises(ConfigError, match="scored cycles hold 1 to 11") as error:
            leads(experiment(tmp_path, f"twin.forecast.hours={hours}"))
        assert error.value.key == "twin.forecast.hours"
    with pytest.raises(ConfigError, match="makes all that its methods know"):
        twin(experiment(tmp_path, "assimilate.prior=ensemble:x.nc", "twin.methods=[letkf]"))
