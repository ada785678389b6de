"""The primitive is softmax attention, partial results merge exactly, and rotary products know only distances."""

import math

import torch

from stormda.nn.attention import Attention, attend, merge, rotary, rotate


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_attend_is_the_definition() -> None:
    q, k, v = draw(2, 3, 5, 8), draw(2, 3, 7, 8, seed=1), draw(2, 3, 7, 8, seed=2)
    scores = q @ k.transpose(-1, -2) / math.sqrt(8)
    out, lse = attend(q, k, v)
    # float64 sums of a few terms of order one: 1e-12 is thousands of roundings.
    torch.testing.assert_close(out, scores.softmax(-1) @ v, atol=1e-12, rtol=0)
    torch.testing.assert_close(lse, scores.logsumexp(-1), atol=1e-12, rtol=0)


def test_partial_results_merge_by_their_log_sum_exp() -> None:
    q, k, v = draw(1, 2, 5, 8), draw(1, 2, 9, 8, seed=1), draw(1, 2, 9, 8, seed=2)
    (a, la), (b, lb) = attend(q, k[:, :, :4], v[:, :, :4]), attend(q, k[:, :, 4:], v[:, :, 4:])
    total = torch.logaddexp(la, lb)
    merged = (la - total).exp()[..., None] * a + (lb - total).exp()[..., None] * b
    torch.testing.assert_close(merged, attend(q, k, v)[0], atol=1e-12, rtol=0)


def test_gradient_of_attend_is_that_of_the_definition() -> None:
    inputs = [draw(1, 2, 5, 8, seed=s).requires_grad_() for s in range(3)]
    cotangent = draw(1, 2, 5, 8, seed=9)
    q, k, v = inputs
    expected = torch.autograd.grad((q @ k.transpose(-1, -2) / math.sqrt(8)).softmax(-1) @ v, inputs, cotangent)
    for got, want in zip(torch.autograd.grad(attend(q, k, v)[0], inputs, cotangent), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    q, k = draw(1, 1, 1, 16), draw(1, 1, 1, 16, seed=1)

    def product(place_q: list[float], place_k: list[float]) -> torch.Tensor:
        angles = [rotary(torch.tensor([p]), (None, 12.0), 16) for p in (place_q, place_k)]
        return (rotate(q, angles[0].cos(), angles[0].sin()) * rotate(k, angles[1].cos(), angles[1].sin())).sum()

    here = product([3.0, 4.0], [1.0, 9.0])
    torch.testing.assert_close(here, product([5.0, 5.0], [3.0, 10.0]))  # shifted by (2, 1)
    torch.testing.assert_close(here, product([3.0, 4.0], [1.0, 9.0 - 12.0]))  # once around the periodic axis
    assert abs(float(here - product([4.0, 4.0], [1.0, 9.0]))) > 1e-3


def test_latents_let_every_token_reach_every_other() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2, latents=4).double()
    layer.gate.data.fill_(30.0)  # only the latent path
    angles = (torch.ones(6, 4, dtype=torch.float64), torch.zeros(6, 4, dtype=torch.float64))
    x = draw(1, 6, 16).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x, x, angles, angles)[0, 0].sum(), x)
    assert (gradient[0].abs().amax(dim=-1) > 1e-6).all()


def test_one_context_serves_the_whole_batch() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 2, latents=3).double()
    angles = (draw(5, 4).cos(), draw(5, 4).sin())
    x, context = draw(3, 5, 16), draw(1, 5, 16, seed=4)
    together = layer(x, context, angles, angles)
    torch.testing.assert_close(together, layer(x, context.expand(3, -1, -1), angles, angles), atol=1e-12, rtol=0)


def test_gradients_through_merged_parts_are_those_of_the_whole() -> None:
    inputs = [draw(1, 2, n, 8, seed=s).requires_grad_() for s, n in enumerate((5, 9, 9))]
    q, k, v = inputs
    cotangents = [draw(1, 2, 5, 8, seed=8), draw(1, 2, 5, seed=9)]
    scores = q @ k.transpose(-1, -2) / math.sqrt(8)
    whole = torch.autograd.grad([scores.softmax(-1) @ v, scores.logsumexp(-1)], inputs, cotangents)
    parts = [attend(q, k[:, :, a:b], v[:, :, a:b]) for a, b in ((0, 2), (2, 9))]
    merged = merge(torch.stack([out for out, _ in parts]), torch.stack([lse for _, lse in parts]))
    for got, want in zip(torch.autograd.grad(merged, inputs, cotangents), whole, strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=0)  # as above


def test_the_log_sum_exp_alone_has_a_gradient() -> None:
    q, k, v = (draw(1, 1, 3, 4, seed=s).requires_grad_() for s in range(3))
    gradients = torch.autograd.grad(attend(q, k, v)[1].sum(), (q, k))
    wanted = torch.autograd.grad((q @ k.transpose(-1, -2) / 2).logsumexp(-1).sum(), (q, k))
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-13, rtol=0)
