"""A radar in the demo world: what it writes is read back by the reader, and the operators agree with it."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from stormda.config import OperatorConfig, RadarSource
from stormda.nature.weather import Weather
from stormda.observations import QC
from stormda.operators.build import build_operator
from stormda.operators.radar import standard_height
from stormda.pipeline.radars import scan
from stormda.sources.radar import read_radar
from stormda.variables import Channel

TIME = np.datetime64("2001-01-02T00", "s")
WORLD = Weather()
PRESSURES = np.array([1000.0, 925.0, 850.0, 700.0, 500.0])


def test_a_simulated_volume_agrees_with_the_operators_on_the_truth(tmp_path: Path) -> None:
    theta = torch.as_tensor(np.load(str(files("stormda.nature").joinpath("sqg-developed.npy")))).double()
    state = WORLD.advance(WORLD.initial(theta), 12 * 3600.0)
    rain = WORLD.rain(state)
    grid = WORLD.sqg.grid()
    inner = rain[22:42]  # away from the poles of the nominal coordinates
    row, column = divmod(int(inner.argmax()), rain.shape[1])
    place = float(grid.latitude[row + 22]), float(grid.longitude[column])
    scan(WORLD, state, TIME, tmp_path / "demo.h5", "demo1", *place)
    scan(WORLD, state, TIME, tmp_path / "again.h5", "demo1", *place)
    errors = {"dbz": 1.0, "vr": 0.5}
    keys = {"cell": None, "errors": errors, "no_echo": 0.0, "checks": {"speckle": 0, "texture": 1e9, "nearest": 5000}}
    source = RadarSource.model_validate({"files": [str(tmp_path / "demo.h5")]} | keys)
    found = read_radar(source, "radar", Path)
    again = read_radar(source.model_copy(update={"files": (str(tmp_path / "again.h5"),)}), "radar", Path)
    assert np.array_equal(found["value"], again["value"])
    assert len(found.where(found["variable"] == "dbz")) == 3 * 180 * 120
    low = found["level"] < 2900.0  # above the cloud it does not rain, in the state it rains in all of the column
    found = found.where((found["qc"] == QC.USED) & low)
    names = ["rr", *(f"{w}{p:g}" for p in PRESSURES for w in ("u", "v"))]
    winds = [WORLD.sqg.interior(theta_of(state), max(float(z), 0.0))[:2] for z in standard_height(PRESSURES)]
    truth = torch.stack([rain, *(w for pair in winds for w in pair)])
    configs = {
        "dbz": OperatorConfig.model_validate({"kind": "reflectivity", "floor": -20.0}),
        "vr": OperatorConfig.model_validate({"kind": "radial_velocity"}),
    }
    h, observations, rows = build_operator(found, grid, tuple(map(Channel.parse, names)), configs, TIME)
    misfit = observations["value"][rows] - h(truth).numpy()
    variable, value = observations["variable"][rows], observations["value"][rows]
    rainy = (variable == "dbz") & (value > 15.0)  # weak echoes are clipped at `no_echo`
    assert rainy.sum() > 1000 and (variable == "vr").sum() > 1000
    # Reflectivity: an error of 1 dB and rounding to 0.5 dB, sqrt(1 + 0.25 / 12) = 1.01, selection above 15 dBZ aside.
    assert abs(misfit[rainy].mean()) < 0.1 and 0.9 < misfit[rainy].std() < 1.1
    # Velocity: 0.5 m s-1; profiles between the levels differ by a few hundredths.
    assert abs(misfit[variable == "vr"].mean()) < 0.05 and 0.45 < misfit[variable == "vr"].std() < 0.6


def theta_of(state: torch.Tensor) -> torch.Tensor:
    return state[:2]


def test_no_rain_gives_no_velocity_and_is_no_error(tmp_path: Path) -> None:
    theta = torch.zeros(2, 64, 64, dtype=torch.float64)
    state = WORLD.initial(theta)  # air of 90 % relative humidity
    scan(WORLD, state, TIME, tmp_path / "dry.h5", "dry", 10.0, 20.0, rays=60, step=8000.0, angles=(0.5,))
    keys = {"files": [str(tmp_path / "dry.h5")], "errors": {"vr": 1.0, "dbz": 1.0}, "cell": None}
    dry = RadarSource.model_validate(keys | {"keep": ["vr"]})
    assert len(read_radar(dry, "radar", Path)) == 0
    assert len(read_radar(RadarSource.model_validate(keys), "radar", Path)) == 60 * 30
