"""Presets have the size that they are named after, and a block of each computes in pieces what it computes at once."""

import pytest
import torch

from stormda.config.presets import PRESETS
from stormda.nn import stream
from stormda.nn.attention import rotary
from stormda.nn.block import Block
from stormda.nn.storm import Storm
from stormda.nn.tiles import layer_tiles


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("nano", 0.45e6), ("10M", 10e6), ("200M", 200e6), ("10B", 8.0e9)],  # the last one: `stormda.config.presets`
)
def test_parameters(name: str, wanted: float) -> None:
    with torch.device("meta"):
        static = torch.ones(11, 64, 128)
        network = Storm(6, (64, 128), static, periodic=(False, True), frames=2, patch=2, **PRESETS[name].arguments())
    count = sum(p.numel() for p in network.parameters())
    assert abs(count / wanted - 1) < 0.1
    assert all(p.is_meta for p in network.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_a_block_of_two_heads_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preset, shape, periodic = PRESETS[name], (24, 32), (False, True)
    size = preset.width // preset.heads
    torch.manual_seed(0)
    block = Block(2 * size, 2, 16, 1.0, layer_tiles(1, shape, periodic, preset.tile, preset.halo))
    torch.nn.init.normal_(block.film.weight, std=0.1)
    places = torch.cartesian_prod(*(torch.arange(n) for n in shape))
    turns = rotary(places, (None, 32.0), size).float()
    x, history, n = torch.randn(1, 768, 2 * size), torch.randn(1, 768, 2 * size), torch.randn(1, 2 * size)

    def run(tokens: int) -> torch.Tensor:
        monkeypatch.setitem(stream.CHUNK, "cpu", tokens)
        y: torch.Tensor = block(x, history, n, (turns.cos(), turns.sin()))
        return y

    whole = run(10_000)
    # float32; each step adds at most 1024 terms (perceptron) in another order, whose errors add up like a random walk
    # of sqrt(1024) roundings, and three branches follow each other: 100 roundings of values of order 10.
    torch.testing.assert_close(run(100), whole, atol=1000 * torch.finfo(torch.float32).eps, rtol=0)
    block.double()
    x, history, n, turns = (t.double() for t in (x, history, n, turns))
    torch.testing.assert_close(whole.double(), run(100), atol=1000 * torch.finfo(torch.float32).eps, rtol=0)
