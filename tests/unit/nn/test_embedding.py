"""Patches are cut with the right neighbours and joined without a trace; pools cope with what is missing."""

import numpy as np
import pytest
import torch

from stormda.nn.embedding import Patches, Pool, forcing, fourier


@pytest.mark.parametrize(
    ("shape", "patch", "periodic"),
    [((6, 8), 2, (False, False)), ((5, 7), 3, (False, True)), ((1, 10), 4, (False, True)), ((3, 3), 1, (True, True))],
)
def test_join_is_the_inverse_of_cut(shape: tuple[int, int], patch: int, periodic: tuple[bool, bool]) -> None:
    patches = Patches(shape, patch, periodic)
    x = torch.randn(2, 3, *shape)
    ph, pw = patches.size
    windows = patches.cut(x).reshape(2, -1, 3, ph + 2, pw + 2)
    assert torch.equal(patches.join(windows[..., 1:-1, 1:-1].flatten(-2)), x)


def test_the_rim_wraps_where_the_grid_does_and_is_zero_beyond_an_edge() -> None:
    x = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    window = Patches((3, 4), 1, (False, True)).cut(x).reshape(12, 3, 3)
    assert window[0].tolist() == [[0, 0, 0], [4, 1, 2], [8, 5, 6]]
    assert Patches((3, 4), 1, (False, False)).cut(x).reshape(12, 3, 3)[0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 5, 6]]


def test_a_pool_does_not_see_what_is_masked_and_is_never_empty() -> None:
    torch.manual_seed(0)
    pool = Pool(8, 2)
    pool.nothing.data.normal_()
    x = torch.randn(4, 3, 8)
    mask = torch.tensor([[True, True, False], [True, False, False], [False, True, True], [False, False, False]])
    changed = torch.where(mask[..., None], x, 1e6)
    assert torch.equal(pool(x, mask), pool(changed, mask))
    assert torch.equal(pool(x, mask)[3], pool.nothing.flatten())


def test_forcing_is_the_phase_of_year_and_day() -> None:
    times = np.array(["2000-01-01T00", "2003-06-15T06", "2003-06-15T18", "2007-06-15T06"], dtype="datetime64[s]")
    f = forcing(times)
    assert f.shape == (4, 4) and f.dtype == np.float32
    np.testing.assert_allclose(f[1, 2:], [0, 1], atol=1e-6)  # a quarter of the day
    np.testing.assert_allclose(f[1, 2:], -f[2, 2:], atol=1e-6)  # half a day apart
    # The same date of two years differs by less than a day of 365: 2 pi / 365 = 0.017.
    np.testing.assert_allclose(f[1, :2], f[3, :2], atol=0.018)


def test_noise_levels_have_features_of_their_own() -> None:
    a = fourier(torch.linspace(-1, 1.1, 50), 8)
    distance = torch.cdist(a, a) + 10 * torch.eye(50)
    assert float(distance.min()) > 1e-2
