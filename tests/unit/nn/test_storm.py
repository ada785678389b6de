"""The network takes any grid, treats a periodic world as one, and does not look at what is missing."""

import pytest
import torch

from stormda.nn import stream
from stormda.nn.storm import Storm

SIZE = {"patch": 2, "width": 16, "blocks": 2, "heads": 2, "latents": 4}


def network(shape: tuple[int, int], channels: int = 2, frames: int = 2, periodic: tuple[bool, bool] = (False, False),
            **size: int) -> Storm:  # fmt: skip
    torch.manual_seed(0)
    net = Storm(channels, shape, torch.ones(3, *shape), periodic=periodic, frames=frames, **(SIZE | size))
    torch.nn.init.normal_(net.head.weight)  # it is zero at the start of training
    for block in net.blocks:
        torch.nn.init.normal_(block.film.weight, std=0.1)
    return net


def inputs(shape: tuple[int, int], b: int = 3, c: int = 2, k: int = 2) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(1)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=g)

    mean, error = draw(b, k, c, *shape), draw(b, k, c, *shape).abs()
    return [draw(b, 5, c, *shape), draw(b), mean, error, torch.ones(b, k, dtype=torch.bool), draw(b, 4)]


@pytest.mark.parametrize("shape", [(8, 6), (5, 7), (1, 9), (9, 1)])
@pytest.mark.parametrize("latents", [0, 4])
def test_any_grid(shape: tuple[int, int], latents: int) -> None:
    y = network(shape, latents=latents)(*inputs(shape))
    assert y.shape == (3, 2, *shape) and bool(torch.isfinite(y).all())


def test_it_starts_from_zero() -> None:
    torch.manual_seed(0)
    net = Storm(1, (4, 4), torch.ones(1, 4, 4), periodic=(False, False), frames=1, **SIZE)
    assert float(net(*inputs((4, 4), c=1, k=1)).detach().abs().max()) == 0.0


def test_a_shift_of_a_periodic_world_shifts_the_answer() -> None:
    net, x = network((4, 12), periodic=(False, True)), inputs((4, 12))

    def rolled(n: int) -> list[torch.Tensor]:
        return [f.roll(n, dims=-1) if f.ndim > 2 else f for f in x]

    y = net(*x)
    # By whole patches; float32 sums of about a hundred terms of order 1 to 10 differ in order: 1e-4.
    torch.testing.assert_close(net(*rolled(4)), y.roll(4, dims=-1), atol=1e-4, rtol=1e-4)
    walls = network((4, 12))
    assert float((walls(*rolled(4)) - walls(*x).roll(4, dims=-1)).detach().abs().max()) > 1e-2


def test_a_missing_frame_is_not_looked_at() -> None:
    net, x = network((4, 6)), inputs((4, 6))
    x[4][:, 0] = False
    y = net(*x)
    x[2][:, 0], x[3][:, 0] = 100.0, 5.0
    assert torch.equal(net(*x), y)
    x[2][:, 1] += 1.0
    assert not torch.equal(net(*x), y)


def test_without_any_frame_the_answer_is_finite_and_independent_of_them() -> None:
    net, x = network((4, 6)), inputs((4, 6))
    x[4][:] = False
    y = net(*x)
    x[2][:] = 7.0
    assert bool(torch.isfinite(y).all()) and torch.equal(net(*x), y)


def test_one_history_serves_the_whole_batch() -> None:
    net, x = network((4, 6)), inputs((4, 6))
    alone = [f[:1] if i in (2, 3, 4) else f for i, f in enumerate(x)]
    repeated = [f[:1].expand_as(f) if i in (2, 3, 4) else f for i, f in enumerate(x)]
    torch.testing.assert_close(net(*alone), net(*repeated))


def test_noise_season_and_places_matter() -> None:
    net, x = network((4, 6)), inputs((4, 6))
    y = net(*x)
    for i in (1, 5):
        changed = list(x)
        changed[i] = changed[i] + 0.5
        assert float((net(*changed) - y).detach().abs().max()) > 1e-3


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        network((4, 4), width=20)


@pytest.mark.parametrize("shape", [(8, 6), (5, 37), (1, 9), (40, 1)])
def test_any_grid_in_tiles(shape: tuple[int, int]) -> None:
    net = network(shape, tile=3, halo=1, dilation=2, patch=1)
    y = net(*inputs(shape))
    assert y.shape == (3, 2, *shape) and bool(torch.isfinite(y).all())


def test_tiles_that_see_everything_change_nothing_and_small_ones_do() -> None:
    shape = (12, 16)
    plain, x = network(shape, patch=1), inputs(shape)
    wide, narrow = network(shape, patch=1, tile=16, halo=8), network(shape, patch=1, tile=4, halo=2)
    for tiled in (wide, narrow):
        tiled.load_state_dict(plain.state_dict())
    # float32 sums of about a hundred terms of order 1 to 10 in another order.
    torch.testing.assert_close(wide(*x), plain(*x), atol=1e-4, rtol=1e-4)
    assert float((narrow(*x) - plain(*x)).detach().abs().max()) > 1e-2


def test_a_shift_of_a_periodic_world_by_whole_tiles_shifts_the_answer() -> None:
    net, x = network((8, 32), periodic=(False, True), tile=4, halo=2), inputs((8, 32))
    moved = [f.roll(8, dims=-1) if f.ndim > 2 else f for f in x]
    torch.testing.assert_close(net(*moved), net(*x).roll(8, dims=-1), atol=1e-4, rtol=1e-4)  # as above


def test_gradients_in_tiles_reach_every_parameter_and_every_point() -> None:
    net, x = network((12, 16), patch=1, tile=4, halo=2), inputs((12, 16))
    x[0].requires_grad_()
    y = net(*x)
    gradients = torch.autograd.grad(y[0, 0, 0, 0], [x[0], *net.parameters()])
    assert float(gradients[0][0].abs().amax(dim=(0, 1)).min()) > 0
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("periodic", [(False, False), (True, True)])
def test_pieces_do_not_show(periodic: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (13, 16)
    net, x = network(shape, periodic=periodic, tile=4, halo=2).double(), inputs(shape)
    x = [f.double() if f.is_floating_point() else f for f in x]
    sources = [x[0].requires_grad_(), x[2].requires_grad_(), *net.parameters()]

    def results(tokens: int) -> list[torch.Tensor]:
        monkeypatch.setitem(stream.CHUNK, "cpu", tokens)
        y = net(*x)
        return [y, *torch.autograd.grad(y.square().sum(), sources)]

    for small, large in zip(results(3 * 16), results(10_000), strict=True):
        # float64: sums of at most a thousand terms of up to 1e3, in another order.
        torch.testing.assert_close(small, large, atol=1e-8, rtol=1e-10)
