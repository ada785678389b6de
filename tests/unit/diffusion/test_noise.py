"""The schedule of noise levels."""

import numpy as np
import torch

from stormda.diffusion.noise import karras


def test_falls_from_the_largest_to_the_smallest_and_then_to_zero() -> None:
    sigmas = karras(0.02, 60.0, 24)
    assert sigmas.shape == (25,)
    # Two powers of 1/7 and 7 in double precision.
    np.testing.assert_allclose(sigmas[[0, -2]], [60.0, 0.02], rtol=1e-13)
    assert sigmas[-1] == 0
    assert bool((sigmas[1:] < sigmas[:-1]).all())


def test_is_even_in_the_root() -> None:
    roots = karras(0.02, 60.0, 10, rho=3.0)[:-1] ** (1 / 3)
    np.testing.assert_allclose(torch.diff(roots), (roots[-1] - roots[0]) / 9, rtol=1e-12)
