"""A call of a network is the same on any number of processes: value, products with its derivative, training."""

import math
from typing import Any

import pytest
import torch
from gloo_world import ranks
from torch import Tensor

from stormda.distributed.tiled import Tiled
from stormda.layout import WHOLE, Layout
from stormda.nn.planes import Strip, rim
from stormda.nn.storm import Storm

CHANNELS, FRAMES = 3, 2
GLOBE = {"periodic": (False, True), "poles": (True, True), "pole_rows": (True, False), "vectors": (1, 2)}
CASES: dict[str, dict[str, Any]] = {
    "region": {"shape": (25, 22), "periodic": (False, False), "dilation": 2, "strip": True},
    "globe": {"shape": (24, 48), **GLOBE},
    "plane": {"shape": (20, 24), "periodic": (True, True), "latents": 0},
    "window": {"shape": (16, 20), "periodic": (True, True), "window": 2},
    "line": {"shape": (1, 60), "periodic": (False, True)},
}


def network(shape: tuple[int, int], *, latents: int = 4, **how: Any) -> Storm:
    torch.manual_seed(0)
    static = torch.randn(2, *shape)
    size: dict[str, Any] = {
        "patch": 2,
        "width": 16,
        "blocks": 4,
        "heads": 2,
        "tile": 3,
        "halo": 1,
    }  # every shift of the tiles
    net = Storm(CHANNELS, shape, static, frames=FRAMES, latents=latents, **size, **how)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # also the head, which begins at zero
    return net


def call(case: str, layout: Layout) -> dict[str, Tensor]:
    """The result, its product with a cotangent, and the gradients of the parameters: of the part, or its share."""
    how = CASES[case]
    net, (h, w) = network(**how), how["shape"]
    rows, columns = layout.part((h, w))

    def field(*shape: int, seed: int) -> Tensor:
        x = torch.randn(*shape, h, w, generator=torch.Generator().manual_seed(seed))
        return x[..., rows, columns].clone()

    frames = (how["window"],) if "window" in how else ()
    state = field(2, *frames, 5, CHANNELS, seed=1).requires_grad_()
    history = field(1, FRAMES, CHANNELS, seed=2), field(1, FRAMES, CHANNELS, seed=3).abs()
    rest = torch.tensor([[False, True]]), torch.full((2, *frames, 4), 0.5)
    strip = Strip(field(1, CHANNELS, seed=4), rim((h, w), 3)[None, None, rows, columns]) if "strip" in how else None
    f = net(state, torch.tensor([-0.7, 0.3]), *history, *rest, layout=layout, strip=strip)
    cotangent = field(2, *frames, CHANNELS, seed=5)
    wanted = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(f, [state, *(p for _, p in wanted)], cotangent, allow_unused=True)
    named = {name: g for (name, _), g in zip(wanted, gradients[1:], strict=True) if g is not None}
    return {"value": f.detach(), "product": gradients[0], **named}


def both(case: str, mesh: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Of the parts, and of the whole."""
    shape = CASES[case]["shape"]
    layout = Tiled(shape, (min(2, shape[0]), 2), mesh)
    parts, whole = call(case, layout), call(case, WHOLE)
    found = {n: layout.gather(x, shape) if n in ("value", "product") else layout.sum(x) for n, x in parts.items()}
    assert found.keys() == whole.keys()
    return {name: (found[name], whole[name]) for name in whole}


MESHES = {
    "region": [(2, 1), (1, 3), (2, 2)],
    "globe": [(2, 1), (1, 2), (3, 1), (2, 2), (4, 1)],
    "plane": [(1, 2), (2, 2)],
    "window": [(2, 1), (1, 3)],
    "line": [(1, 2), (1, 4)],
}


EACH = [(case, mesh) for case, meshes in MESHES.items() for mesh in meshes]


@pytest.mark.parametrize(
    "case, mesh", [pytest.param(*each, marks=[pytest.mark.soak] if math.prod(each[1]) > 2 else []) for each in EACH]
)
def test_parts_of_a_call(case: str, mesh: tuple[int, int]) -> None:
    for name, (found, exact) in ranks(math.prod(mesh), both, case, mesh)[0].items():
        # float32, about 100 sums of 16 to 500 numbers one after another in other orders: sqrt(100) x 1e-7, and
        # gradients of parameters add over all tokens besides.
        limit = 1e-5 if name == "value" else 5e-5
        assert float((found - exact).norm()) <= limit * float(exact.norm()), (name, float(exact.norm()))


def refused() -> None:
    layout = Tiled((8, 8), (2, 2), (2, 1))
    torch.manual_seed(0)
    size: dict[str, Any] = {"patch": 2, "width": 16, "blocks": 1, "heads": 2, "latents": 4}
    net = Storm(1, (8, 8), torch.zeros(1, 8, 8), periodic=(True, True), frames=1, **size)
    state, past = torch.zeros(1, 5, 1, 4, 8), torch.ones(1, 1, 1, 4, 8)
    with pytest.raises(ValueError, match="give the network tiles"):
        net(state, torch.zeros(1), past, past, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 4), layout=layout)


def test_softmax_over_everything_is_for_one_process() -> None:
    ranks(2, refused)


def traffic(grid: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Messages and bytes by kind of a call and its gradient, cut between two rows."""
    layout = Tiled(grid, (1, 1), (2, 1))
    size: dict[str, Any] = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 4, "tile": 4, "halo": 1}
    net = Storm(1, grid, torch.zeros(1, *grid), periodic=(False, False), frames=1, **size)
    torch.nn.init.normal_(net.head.weight)
    state, past = torch.zeros(1, 5, 1, grid[0] // 2, grid[1]), torch.ones(1, 1, 1, grid[0] // 2, grid[1])
    rest = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 4)
    net(state.requires_grad_(), torch.zeros(1), past, past, *rest, layout=layout).sum().backward()
    return {kind: (t.messages, t.bytes) for kind, t in layout.traffic.items() if kind != "plans"}


def traffics() -> list[dict[str, tuple[int, int]]]:
    return [traffic(grid) for grid in ((16, 16), (32, 16), (16, 32))]


def test_bytes_grow_with_the_border_and_not_with_the_field() -> None:
    square, taller, wider = ranks(2, traffics)[0]
    assert set(square) == {"halo", "merge"}
    assert square == taller  # twice the tokens, the same border
    assert wider["merge"] == square["merge"]
    assert wider["halo"] == (square["halo"][0], 2 * square["halo"][1])  # twice the border
    # Twice a block a maximum of 2 heads x 4 latents and a sum of 8 + 1 numbers for each; that sum again backwards.
    assert square["merge"] == (2 * 2 * 3, 2 * 2 * 4 * (8 + 2 * 8 * 9))
    # A message each for the rims of three fields and for keys and values twice a block; all but the rim of the history
    # and of the places, which have no gradient, again backwards.
    assert square["halo"][0] == 3 + 4 + 1 + 4
