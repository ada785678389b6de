"""Moist weather: water is conserved but for its sources, saturation is where it should be, and it rains."""

from importlib.resources import files

import numpy as np
import pytest
import torch

from stormda.errors import ConfigError
from stormda.nature.weather import Weather, pressure


def developed() -> torch.Tensor:
    return torch.as_tensor(np.load(str(files("stormda.nature").joinpath("sqg-developed.npy")))).double()


WORLD = Weather()


def test_saturation_is_that_of_tables() -> None:
    # WMO tables: 12.27 hPa of water vapour at 10 degrees Celsius; Bolton is within 0.1 % of them.
    vapour = 12.272
    temperature = WORLD.temperature(torch.zeros(2, 64, 64, dtype=torch.float64), 1500.0)
    assert pressure(1500.0) == pytest.approx(845.6, abs=0.1)  # ICAO standard atmosphere
    assert temperature.std() < 1e-9 and temperature[0, 0].item() == pytest.approx(304.59 * 0.8456**0.2857, abs=0.05)
    warm = torch.full((2, 64, 64), (283.15 - temperature[0, 0].item()) / 0.8456**0.2857, dtype=torch.float64)
    got = WORLD.saturation(warm)[0, 0].item()
    assert got == pytest.approx(0.622 * vapour / (845.6 - 0.378 * vapour), rel=2e-3)


def test_advection_conserves_water() -> None:
    theta = developed()
    u, v, _ = WORLD.sqg.interior(theta, WORLD.cloud)
    q = WORLD.initial(theta)[2]
    after = WORLD._carried(q, u, v)
    assert (after - q).abs().max() > 1e-5
    assert after.mean().item() == pytest.approx(q.mean().item(), rel=1e-12)  # 4096 roundings in float64


def test_excess_falls_out_in_the_time_of_condensation() -> None:
    saturated = torch.full((4, 4), 0.010, dtype=torch.float64)
    q = WORLD._sources(saturated * 1.2, saturated)
    moist = 0.009 + 0.003 * np.exp(-900.0 / WORLD.moistening)
    assert q[0, 0].item() == pytest.approx(0.010 + (moist - 0.010) * np.exp(-900.0 / 3600.0), rel=1e-12)


def test_it_rains_in_places_and_no_state_is_negative() -> None:
    state = WORLD.advance(WORLD.initial(developed()), 12 * 3600.0)
    rain = WORLD.rain(state)
    assert (state[2] >= 0.0).all() and (rain >= 0.0).all()
    wet = (rain > 0.1).double().mean().item()
    assert 0.01 < wet < 0.2 and 0.5 < rain.max().item() < 20.0  # a day later 7 % of the box is wet
    # Moisture does not act on the wind; transforms between the 48 steps round: 20 K * 2e-16 * 48 * 100.
    torch.testing.assert_close(state[:2], WORLD.sqg.advance(developed(), 12 * 3600.0), atol=1e-10, rtol=0.0)


def test_a_fraction_of_a_step_is_refused() -> None:
    with pytest.raises(ConfigError):
        WORLD.advance(WORLD.initial(developed()), 1000.0)
