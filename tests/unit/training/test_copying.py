"""The far copy: what tiles alone cannot do, what latents and softmax can, and that a training goes on."""

from pathlib import Path

import pytest
import torch

from stormda.errors import CheckpointError
from stormda.training.copying import SOLVED, Copier, blind, far_copy

SIZE = {"width": 16, "blocks": 1, "heads": 2, "latents": 4}
TILES = {"tile": 2, "halo": 0}


@pytest.mark.parametrize(
    ("size", "reaches"),
    [(SIZE | TILES | {"latents": 0}, False), (SIZE | TILES, True), (SIZE | {"latents": 0}, True)],
)
def test_a_source_is_seen_by_latents_and_softmax_and_not_by_tiles(size: dict[str, int], reaches: bool) -> None:
    torch.manual_seed(0)
    model = Copier(8, size)
    torch.nn.init.normal_(model.storm.head.weight)
    x = torch.randn(2, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[:, model.target].sum(), x)
    far = gradient[:, model.source].abs()
    assert bool((far > 0).all()) if reaches else bool((far == 0).all())
    assert blind(8, size) == (size.get("tile", 0) > 0)  # latents aside


def test_targets_are_half_the_domain_from_their_sources() -> None:
    model = Copier(6, SIZE, pairs=36)
    for axis in (lambda n: n // 6, lambda n: n % 6):
        assert bool(((axis(model.target) - axis(model.source)) % 6 == 3).all())
    assert sorted(model.target.tolist()) == list(range(36))


def test_blind_is_never_said_of_tiles_that_reach() -> None:
    """Tiles that are said to be blind have no gradient, whatever their cut; the widest of them see almost half."""
    for tile, halo, blocks in ((2, 0, 2), (2, 1, 1), (3, 0, 1)):
        size = SIZE | {"tile": tile, "halo": halo, "blocks": blocks, "latents": 0}
        assert blind(8, size)
        torch.manual_seed(1)
        model = Copier(8, size, pairs=64)
        torch.nn.init.normal_(model.storm.head.weight)
        x = torch.randn(1, 64, requires_grad=True)
        for token in (0, 27):
            (gradient,) = torch.autograd.grad(model(x)[0, model.target[token]], x)
            assert float(gradient[0, model.source[token]]) == 0.0
    assert not blind(8, SIZE | {"tile": 4, "halo": 1}) and not blind(8, SIZE)


@pytest.mark.soak
def test_tiles_solve_it_by_their_latents(tmp_path: Path) -> None:
    """Two minutes on a free machine; solved is a tenth of the variance, a fifth of what a choice between two leaves."""
    size = {"width": 32, "blocks": 2, "heads": 4, "latents": 16}
    found = far_copy(8, size | TILES, tmp_path)
    assert found.finished and found.best["loss"] < SOLVED


def test_a_training_goes_on_where_it_ended(tmp_path: Path) -> None:
    calls = iter([False, False, True])
    once = far_copy(4, SIZE, tmp_path / "a", steps=8, batch=4)
    first = far_copy(4, SIZE, tmp_path / "b", steps=8, batch=4, stop=lambda: next(calls))
    again = far_copy(4, SIZE, tmp_path / "b", steps=8, batch=4)
    assert (first.finished, first.step, again.finished) == (False, 3, True)
    losses = [[row["loss"] for row in done.curve] for done in (once, again)]
    assert losses[0] == losses[1] and len(losses[0]) == 1
    with pytest.raises(CheckpointError, match="seed"):
        far_copy(4, SIZE, tmp_path / "b", steps=8, batch=4, seed=1)
