"""A window of L noisy frames: the same weights, one sequence, a cost linear in L."""

import pytest
import torch
from torch import Tensor

from stormda.nn.embedding import ages
from stormda.nn.storm import Storm
from stormda.nn.tiles import layer_tiles

SHAPE, C, K = (8, 12), 2, 1
TILES = {"tile": 3, "halo": 1}


def network(window: int, **size: int) -> Storm:
    torch.manual_seed(0)
    arguments = {"patch": 1, "width": 16, "blocks": 2, "heads": 2, "latents": 4} | size
    net = Storm(C, SHAPE, torch.ones(3, *SHAPE), periodic=(False, True), frames=K, window=window, **arguments)
    for module in (net.head, *(block.film for block in net.blocks)):
        torch.nn.init.normal_(module.weight, std=0.1)  # zero at the start of training
    return net


def inputs(window: int, b: int = 2) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=g)

    history = [draw(b, K, C, *SHAPE), draw(b, K, C, *SHAPE).abs(), torch.ones(b, K, dtype=torch.bool)]
    return [draw(b, window, 5, C, *SHAPE), draw(b), *history, draw(b, window, 4)]


def single(x: list[Tensor], frame: int) -> list[Tensor]:
    return [f[:, frame] if i in (0, 5) else f for i, f in enumerate(x)]


@pytest.mark.parametrize("tiles", [{}, TILES])
def test_shapes_and_one_history_for_all(tiles: dict[str, int]) -> None:
    net, x = network(3, **tiles), inputs(3)
    y = net(*x)
    assert y.shape == (2, 3, C, *SHAPE) and bool(torch.isfinite(y).all())
    alone = [f[:1] if i in (1, 2, 3, 4) else f for i, f in enumerate(x)]  # noise level and history serve the batch
    repeated = [f[:1].expand_as(f) if i in (1, 2, 3, 4) else f for i, f in enumerate(x)]
    torch.testing.assert_close(net(*alone), net(*repeated))


@pytest.mark.parametrize("tiles", [{}, TILES])
def test_a_window_of_one_is_the_network_without(tiles: dict[str, int]) -> None:
    torch.manual_seed(0)
    plain, x = network(1, **tiles), inputs(1)
    assert "age.weight" not in plain.state_dict()
    assert plain(*single(x, 0)).shape == (2, C, *SHAPE)
    # Frames that do not know each other: without latents, and no tile of a frame beside them. Then a window is single
    # frames, and the newest one, of age 0, is what the network without a window makes of it.
    weights = network(1, latents=0, **(tiles or {"tile": 12})).state_dict()
    window, one = (network(n, latents=0, **(tiles or {"tile": 12})) for n in (2, 1))
    for net in (window, one):
        net.load_state_dict(weights)
    torch.nn.init.normal_(window.age.weight)
    for block in window.blocks:
        block.attention.tiles = block.cross.tiles
        block.window = 1
    x = inputs(2)
    # float32: the same sums in batches of another size.
    torch.testing.assert_close(window(*x)[:, 1], one(*single(x, 1)), atol=1e-5, rtol=1e-5)
    assert float((window(*x)[:, 0] - one(*single(x, 0))).detach().abs().max()) > 1e-3  # it knows its age


def test_weights_of_single_frames_serve_a_window_and_back() -> None:
    one, three = network(1), network(3)
    three.load_state_dict(one.state_dict())
    assert float(three.age.weight.detach().abs().max()) == 0.0  # as if all frames were the newest
    assert three.state_dict().keys() - one.state_dict().keys() == {"age.weight"}
    three.load_state_dict(network(5).state_dict())  # features of age do not depend on the length


def test_every_frame_reaches_every_other() -> None:
    for tiles, latents in (({}, 0), (TILES, 4), (TILES, 0)):
        net, x = network(6, latents=latents, **tiles), inputs(6, b=1)
        x[0].requires_grad_()
        (gradient,) = torch.autograd.grad(net(*x)[0, 5, 0, 4, 6], x[0])
        reached = (gradient[0].abs().amax(dim=(1, 2, 3, 4)) > 0).tolist()
        # By tiles alone the newest frame sees two frames back, and the second block one more.
        assert reached == 2 * [bool(latents) or not tiles] + 4 * [True]


def test_equal_frames_differ_by_their_age() -> None:
    net, x = network(3), inputs(3)
    x[0], x[5] = x[0][:, :1].expand_as(x[0]), x[5][:, :1].expand_as(x[5])
    y = net(*x)
    assert all(float((y[:, i] - y[:, j]).detach().abs().max()) > 1e-4 for i, j in ((0, 1), (1, 2), (0, 2)))
    features = ages(8, 4)
    assert float(features[-1].abs().max()) == 0.0
    assert float(torch.cdist(features, features).fill_diagonal_(1.0).min()) > 0.1


def test_cost_is_linear_in_the_number_of_frames() -> None:
    tiles = layer_tiles(1, (32, 32), (False, True), 8, 4)
    pairs = [tiles.over(n).pairs / n for n in (3, 6, 24)]
    assert pairs == 3 * [3 * tiles.pairs] and tiles.over(1).pairs == tiles.pairs
    asked = torch.cat([queries.flatten() for queries, _ in tiles.over(5).batches(100)])
    assert torch.equal(asked.sort().values, torch.arange(5 * 32 * 32))


def test_a_window_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        network(0)
