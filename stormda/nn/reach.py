"""Reach: how much the answer at one place depends on what is given far away.

For tokens i and j the norm of the block of the Jacobian, ||dF_i / dx_j||, over all points and channels of the answer in
the patch i and all planes of the input in the patch j. With a vector v of random signs, E ||v^T J||^2 = ||J||^2
(Hutchinson 1990, https://doi.org/10.1080/03610919008812866), so one backward pass gives all j. Two tokens are far apart
if their distance is more than half of the largest one in the domain, around axes that wrap.
"""

__all__ = ["far_from", "inputs_of", "reach"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stormda.nn.embedding import Patches


def far_from(token: int, patches: Patches) -> Tensor:
    """Which tokens [N] are more than half of the largest distance away."""
    place = patches.positions()
    square, largest = torch.zeros(len(place)), 0.0
    for axis, (count, wraps) in enumerate(zip(patches.count, patches.periodic, strict=True)):
        apart = (place[:, axis] - place[token, axis]).abs()
        square += (torch.minimum(apart, count - apart) if wraps else apart) ** 2
        largest += (count // 2 if wraps else count - 1) ** 2
    return square > largest / 4


def inputs_of(model: nn.Module, part: nn.Module, *arguments: Any) -> tuple[Any, ...]:
    """What a part of a model is given when the model is given `arguments`."""
    seen: list[tuple[Any, ...]] = []
    handle = part.register_forward_pre_hook(lambda _, given: seen.append(given))
    try:
        with torch.no_grad():
            model(*arguments)
    finally:
        handle.remove()
    return seen[0]


def reach(
    network: Callable[[Tensor], Tensor],
    state_BPCHW: Tensor,
    patches: Patches,
    *,
    asked: int = 16,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradient norms between tokens that are far apart, and between all others.

    Args:
        network: F_BCHW of the state, whatever else it knows.
        state_BPCHW: where the gradients are taken.
        patches: its tokens.
        asked: how many tokens i, drawn without repetition.
        generator: of the draws.

    Returns:
        A norm a pair (i, j) and member, twice [B, pairs].
    """
    x = state_BPCHW.detach().requires_grad_()
    y = network(x)
    n = patches.count[0] * patches.count[1]
    far, near = [], []
    for i in torch.randperm(n, generator=generator)[:asked].tolist():
        here = _spread(torch.nn.functional.one_hot(torch.tensor(i), n), patches).to(y)
        sign = torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1
        (gradient,) = torch.autograd.grad(y, x, here * sign, retain_graph=True)
        norms, apart = _gather(gradient.square().sum(dim=(1, 2)), patches).sqrt(), far_from(i, patches).to(x.device)
        far.append(norms[:, apart])
        near.append(norms[:, ~apart])
    return torch.cat(far, dim=1), torch.cat(near, dim=1)


def _spread(value_N: Tensor, patches: Patches) -> Tensor:
    """A value a token at all points of its patch, [H, W]."""
    points = value_N.float()[None, :, None, None].expand(1, -1, 1, patches.points)
    return patches.join(points)[0, 0]


def _gather(x_BHW: Tensor, patches: Patches) -> Tensor:
    """The sum over the points of each patch, [B, N]."""
    (h, w), (ph, pw) = patches.count, patches.size
    fill = (0, w * pw - x_BHW.shape[2], 0, h * ph - x_BHW.shape[1])
    cells = torch.nn.functional.pad(x_BHW, fill).view(-1, h, ph, w, pw)
    return cells.sum(dim=(2, 4)).flatten(1)
