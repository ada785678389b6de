"""Model FLOPs are those that torch counts, operation by operation."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stormda.nn.flops import forward_flops
from stormda.nn.frame import Frame, measure_frame, untrained


def attention(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    b, h, n, d = q
    return int(2 * b * h * n * k[2] * (d + v[3]))


COUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
}


@pytest.mark.parametrize(("tile", "latents"), [(0, 0), (0, 4), (4, 0), (4, 4)])
@pytest.mark.parametrize("patch", [1, 2])
def test_they_are_those_of_every_product(tile: int, latents: int, patch: int) -> None:
    frame = Frame((12, 16), 3, 2, patch, 16, 2, 2, latents, tile, 2)
    network = untrained(frame)
    x = [torch.randn(1, 5, 3, 12, 16), torch.zeros(1), torch.randn(1, 2, 3, 12, 16), torch.ones(1, 2, 3, 12, 16)]
    x += [torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 4)]
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        network(*x)
    d = 16
    beside = 2 * (16 * d + 4 * d + d * d)  # noise, season and what comes of them: once, not a token
    assert counter.get_total_flops() - beside == forward_flops(network)


def test_a_window_costs_its_frames() -> None:
    from stormda.nn.storm import Storm

    size = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 4, "tile": 4, "halo": 2}
    counts = [
        forward_flops(Storm(2, (16, 16), torch.ones(1, 16, 16), periodic=(False, True), frames=1, window=n, **size))
        for n in (3, 6, 9)
    ]
    assert counts[2] - counts[1] == counts[1] - counts[0]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_small_frame_is_measured(direction: Any) -> None:
    cost = measure_frame(Frame((12, 16), 2, 1, 2, 16, 1, 2, 4, 4, 2, direction))
    assert cost.seconds > 0 and cost.peak_mib > 0 and cost.matrix_rate > 1e8
