"""Observations off the analysis time: their share of each frame, the added variance, and what it gains."""

import numpy as np
import torch

from stormda.config import OperatorConfig
from stormda.grid import Grid
from stormda.observations import Observations
from stormda.operators.build import build_operator
from stormda.types import Array
from stormda.variables import Channel

NOW, BEFORE = np.datetime64("2019-02-17T12", "s"), np.datetime64("2019-02-17T06", "s")
GRID = Grid.regular(np.linspace(60, 30, 7), np.arange(72) * 5.0)
CHANNELS = (Channel.parse("z500"),)


def stations(times: Array, longitude: Array, value: Array) -> Observations:
    return Observations.of(
        {
            "report_id": "r", "station_id": "s", "platform": "temp", "source": "temp", "variable": ["z"] * len(times),
            "level": 500.0, "level_type": "pressure", "time": times, "latitude": np.full(len(times), 42.0),
            "longitude": longitude, "value": value, "error": 1.0,
        }
    )  # fmt: skip


def test_shares_of_both_frames_and_the_added_variance() -> None:
    times = BEFORE + np.array([2, 3, 6, 8]) * np.timedelta64(3600, "s")
    table = stations(times, np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4))
    frame = np.full((1, *GRID.shape), 10.0)
    h, _, kept = build_operator(table, GRID, CHANNELS, {}, NOW, (BEFORE, frame), np.full_like(frame, 6.0))
    np.testing.assert_array_equal(kept, np.arange(4))
    # a = 1/3, 1/2, 1 and, after the analysis time, 1: y = a x + (1 - a) 10 with x = 40; variance ((1 - a) 6)^2.
    y = h(torch.full((1, *GRID.shape), 40.0, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(y, [20.0, 25.0, 40.0, 40.0], atol=1e-13)
    np.testing.assert_allclose(h.extra_variance.numpy(), [16.0, 9.0, 0.0, 0.0], atol=1e-13)


def test_without_a_previous_frame_every_time_is_the_analysis_time() -> None:
    table = stations(BEFORE + np.array([0, 1]) * np.timedelta64(3600, "s"), np.zeros(2), np.zeros(2))
    h, _, kept = build_operator(table, GRID, CHANNELS, {}, NOW)
    np.testing.assert_array_equal(kept, [0, 1])
    assert (h(torch.full((1, *GRID.shape), 40.0, dtype=torch.float64)) == 40.0).all()
    assert (h.extra_variance == 0).all()


def test_wind_speed_interpolates_components_not_speeds() -> None:
    channels = (Channel.parse("u10"), Channel.parse("v10"))
    table = stations(np.array([BEFORE + np.timedelta64(3, "h")]), np.zeros(1), np.zeros(1))
    table = table.replace(variable=np.array(["ws10"], dtype=object), level=np.array([np.nan]))
    configs = {"ws10": OperatorConfig.model_validate({"kind": "wind_speed"})}
    before = np.stack([np.full(GRID.shape, 8.0), np.full(GRID.shape, -3.0)])
    error = np.stack([np.full(GRID.shape, 1.0), np.full(GRID.shape, 2.0)])
    h, _, _ = build_operator(table, GRID, channels, configs, NOW, (BEFORE, before), error)
    after = torch.as_tensor(np.stack([np.full(GRID.shape, -2.0), np.full(GRID.shape, 11.0)]))
    # Half way: u = 3, v = 4, speed 5; the larger of the components' errors, 2, counts with its share of one half.
    np.testing.assert_allclose(h(after).numpy(), [5.0], atol=1e-13)
    np.testing.assert_allclose(h.extra_variance.numpy(), [1.0], atol=1e-13)


def test_off_time_observations_of_a_moving_wave() -> None:
    """Interpolating in time removes most of the misfit that ignoring the observation's time leaves.

    A wave A cos(k (lon - c t)) of zonal wavenumber k = 6 that moves 10 degrees in the six hours between the frames
    has w T = k c T = 60 degrees = 1.05. For the true state, observations at times evenly spread over the window
    should have no misfit y - H(x) at all. Without time, the misfit is A (cos phi - cos(phi + w s)) with s = t_1 - t;
    its mean square over phases and s in [0, T] is A^2 (1 - sin(wT) / (wT)) = 0.173 A^2: 0.416 A. With it, the error
    of linear interpolation is at most A (w T)^2 / 8 = 0.137 A, and its root mean square sqrt(1/120) (w T)^2 A /
    sqrt(2) = 0.071 A. Interpolation in space adds (k 5 deg)^2 / 8 = 0.034 A at most to both, 0.018 A in the root mean
    square.
    """
    rng = np.random.default_rng(5)
    amplitude, wavenumber, shift = 1000.0, 6, 10.0

    def wave(longitude: Array, a: Array | float) -> Array:
        return np.asarray(amplitude * np.cos(np.deg2rad(wavenumber * (longitude - shift * np.asarray(a)))))

    frames = [np.broadcast_to(wave(GRID.longitude, a), (1, *GRID.shape)) for a in (0.0, 1.0)]
    seconds = rng.integers(1, 6 * 3600 + 1, 2000)
    longitude = rng.uniform(-180, 180, 2000)
    times = BEFORE + seconds.astype("timedelta64[s]")
    table = stations(times, longitude, wave(longitude, seconds / 21600.0))
    truth = torch.as_tensor(frames[1].copy())

    def misfit(previous: tuple[np.datetime64, Array] | None) -> float:
        h, observations, _ = build_operator(table, GRID, CHANNELS, {}, NOW, previous)
        return float(np.sqrt(np.mean((observations["value"] - h(truth).numpy()) ** 2))) / amplitude

    ignored, interpolated = misfit(None), misfit((BEFORE, frames[0].copy()))
    assert 0.37 < ignored < 0.46  # 0.416 and sampling of 2,000 times (2 %), interpolation in space
    assert interpolated < 0.09  # sqrt(0.071^2 + 0.018^2) = 0.073, and their sum if they were correlated
    assert interpolated < ignored / 4
