"""A strip known at the rim is looked at where it is known, and only by a network that was built for it."""

import pytest
import torch
from torch import Tensor

from stormda.nn.planes import Strip, rim
from stormda.nn.storm import Storm

SHAPE, C = (9, 10), 2


def network(strip: bool, window: int = 1) -> Storm:
    torch.manual_seed(0)
    size = {"patch": 2, "width": 16, "blocks": 1, "heads": 2, "latents": 4}
    net = Storm(C, SHAPE, torch.ones(3, *SHAPE), periodic=(False, False), frames=1, strip=strip, window=window, **size)
    torch.nn.init.normal_(net.head.weight)
    return net


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def inputs(b: int = 2) -> list[Tensor]:
    history = [draw(b, 1, C, *SHAPE), draw(b, 1, C, *SHAPE).abs(), torch.ones(b, 1, dtype=torch.bool)]
    return [draw(b, 5, C, *SHAPE), draw(b), *history, draw(b, 4)]


def test_it_responds_where_the_field_is_known_and_nowhere_else() -> None:
    net, x, known = network(True), inputs(), rim(SHAPE, 2)[None, None]
    field = draw(2, C, *SHAPE, seed=5)
    y = net(*x, strip=Strip(field, known))
    inside = torch.where(known, field, torch.nan)
    assert torch.equal(net(*x, strip=Strip(inside, known)), y)  # whatever is there
    changed = net(*x, strip=Strip(field + 1.0, known))
    assert float((changed - y).detach().abs().amax(dim=(0, 1)).min()) > 1e-5  # attention carries it everywhere
    assert float((net(*x) - y).detach().abs().max()) > 1e-3
    nothing = torch.zeros(1, 1, *SHAPE, dtype=torch.bool)
    assert torch.equal(net(*x), net(*x, strip=Strip(field, nothing)))


def test_one_strip_serves_the_batch() -> None:
    net, x, field, known = network(True), inputs(), draw(1, C, *SHAPE), rim(SHAPE, 1)[None, None]
    together = net(*x, strip=Strip(field.expand(2, -1, -1, -1), known))
    torch.testing.assert_close(net(*x, strip=Strip(field, known)), together)


def test_a_network_without_refuses_it() -> None:
    with pytest.raises(ValueError, match="without a strip"):
        network(False)(*inputs(), strip=Strip(draw(1, C, *SHAPE), rim(SHAPE, 1)[None, None]))
    assert network(False).embed.weight.shape[1] == 5 * 16 and network(True).embed.weight.shape[1] == 7 * 16


def test_every_frame_of_a_window_has_its_own() -> None:
    net, x = network(True, window=2), inputs()
    x[0], x[5] = x[0][:, None].expand(-1, 2, -1, -1, -1, -1), x[5][:, None].expand(-1, 2, -1)
    field, known = draw(2, 2, C, *SHAPE), rim(SHAPE, 2)
    y = net(*x, strip=Strip(field, known))
    assert y.shape == (2, 2, C, *SHAPE)
    assert float((net(*x, strip=Strip(field.flip(1), known)) - y).detach().abs().max()) > 1e-3
    assert net(*x, strip=Strip(field[:1], known)).shape == y.shape


def test_the_rim_of_a_domain() -> None:
    assert rim((5, 6), 1).sum() == 30 - 3 * 4
    assert rim((5, 6), 1, (False, True)).sum() == 2 * 6
    assert not rim((5, 6), 1, (True, True)).any()
