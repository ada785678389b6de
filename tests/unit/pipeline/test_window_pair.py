"""H of two frames at once: each observation sees its share of both, whatever that share is."""

import numpy as np
import torch

from stormda.operators.interpolate import Affine
from stormda.operators.stack import Stack
from stormda.operators.wind import WindSpeed
from stormda.pipeline.window import _Pair


def test_every_share_is_exact() -> None:
    """Of a plain channel and of a wind speed, which bends: all of the frame before, nearly all, half, and none."""
    share = np.array([0.5, 0.0, 1.0, 1e-9, 0.5])
    point = np.arange(5)[:, None]

    def component(channel: int, rows: list[int]) -> Affine:
        return Affine.of(np.full(len(rows), channel), point[rows], np.ones((len(rows), 1)), 5)

    plain, speed = [0, 2, 3], [1, 4]
    parts = (
        (component(0, plain), np.array(plain)),
        (WindSpeed(component(0, speed), component(1, speed)), np.array(speed)),
    )
    stack = Stack(parts, torch.zeros(5, dtype=torch.float64))
    groups = tuple((share == a, float(a)) for a in np.unique(share))
    pair = _Pair(stack, groups, lambda z: 1e5 + z, lambda z: 1e5 + 2 * z)
    z = torch.randn(2, 3, 2, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p, x = (1e5 + z[0]).numpy()[..., 0, :], (1e5 + 2 * z[1]).numpy()[..., 0, :]
    mixed = share * x + (1 - share) * p
    wanted = np.where(np.isin(np.arange(5), speed), np.hypot(mixed[:, 0], mixed[:, 1]), mixed[:, 0])
    # Numbers of 1e5 with a few roundings: 1e5 * 2e-16 * 10.
    np.testing.assert_allclose(pair(z[0], z[1]).numpy(), wanted, atol=2e-10, rtol=0)
