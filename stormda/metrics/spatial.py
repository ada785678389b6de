"""Scores of whole fields: is it right near by, and has it the scales of the atmosphere?

**Fractions skill score** (Roberts and Lean 2008, https://doi.org/10.1175/2007MWR2123.1): a shower that is forecast one
grid point off is wrong twice, point by point. P_o is the share of points with the event in a neighbourhood of n x n
points of the reference, P_f the same of the ensemble, averaged over its members:

    FSS = 1 - sum (P_f - P_o)^2 / (sum P_f^2 + sum P_o^2)

1 is perfect, 0 none; useful is above 1/2 + o/2, o the observed frequency. At an edge the neighbourhood is what of it
lies on the grid; periodic directions wrap. Points where nothing is known (no radar looks there) belong to no
neighbourhood. The three sums add up over cycles.

**Power spectrum**: the variance of a field by scale, in directions that wrap by Fourier, in others by cosine transform,
which needs no periodicity and no detrending (Denis, Cote and Laprise 2002,
https://doi.org/10.1175/1520-0493(2002)130<1812:SDOTDA>2.0.CO;2). With indices i, j of an H x W grid,

    alpha = sqrt((i / H)^2 + (j / W)^2)     (twice the Fourier index over the length in periodic directions)

and the wavelength is 2 / alpha grid points. Bins are 1 / min(H, W) wide (twice that on a doubly periodic grid); what
is beyond the Nyquist wavelength of 2 points belongs to the last one, which has that wavelength where a direction wraps.
Powers add up to the variance about the mean.
Distances are counted in grid points. Of an ensemble beside a truth:

    power of the truth and of its members (alike where the ensemble is as rough as the truth)
    power of the error of the mean and of the members' deviations (alike where the spread is calibrated at that scale)
"""

__all__ = ["POWERS", "fss", "fss_terms", "power", "spectra", "wavelengths"]

import numpy as np
from scipy.fft import dct, fft
from scipy.ndimage import uniform_filter

from stormda.metrics.base import Sums
from stormda.types import Array

POWERS = ("truth", "members", "error", "spread")


def fss_terms(members_MHW: Array, truth_HW: Array, threshold: float, width: int, periodic: tuple[bool, bool]) -> Array:
    """(P_f - P_o)^2, P_f^2 and P_o^2 at every point, [H, W, 3].

    Args:
        members_MHW: the ensemble.
        truth_HW: the reference; NaN where it is not known, there the terms mean nothing.
        threshold: the event is a value of it or more.
        width: n of the n x n neighbourhood, odd.
        periodic: whether rows and columns wrap.
    """
    mode = tuple("wrap" if wraps else "constant" for wraps in periodic)

    def near(x_HW: Array) -> Array:
        return np.asarray(uniform_filter(x_HW, width, mode=mode))

    known = np.isfinite(truth_HW)
    inside = near(known.astype(np.float64))
    inside[~known] = 1.0  # it may be 0 there
    f = near((members_MHW >= threshold).mean(axis=0) * known) / inside
    o = near((known & (truth_HW >= threshold)).astype(np.float64)) / inside
    return np.stack([(f - o) ** 2, f**2, o**2], axis=-1)


def fss(sums: Sums, name: str) -> Array:
    """Fractions skill score of the statistic `name`, [G]; NaN where the event was neither forecast nor observed."""
    difference, f, o = np.moveaxis(sums.totals[name], -1, 0)
    both = f + o
    return np.asarray(1.0 - np.divide(difference, both, out=np.full(np.shape(both), np.nan), where=both > 1e-12))


def power(fields: Array, periodic: tuple[bool, bool]) -> Array:
    """Variance by scale, [..., K], of fields [..., H, W], largest scale first."""
    shape = fields.shape[-2:]
    squares = fields - fields.mean(axis=(-2, -1), keepdims=True)
    for axis, wraps in ((-2, periodic[0]), (-1, periodic[1])):
        if wraps:
            squares = fft(squares, axis=axis, norm="ortho")
        else:
            squares = dct(squares, axis=axis, norm="ortho")
    squares = np.abs(squares) ** 2 / (shape[0] * shape[1])
    place, count = _bins(shape, periodic)
    out = np.zeros((*fields.shape[:-2], count + 1))
    flat = squares.reshape(*fields.shape[:-2], -1)
    for k in range(1, count + 1):
        out[..., k] = flat[..., place.ravel() == k].sum(axis=-1)
    return out[..., 1:]


def wavelengths(shape: tuple[int, int], periodic: tuple[bool, bool]) -> Array:
    """Of the middle of each bin, in grid points, [K]."""
    _, count = _bins(shape, periodic)
    return np.asarray(2.0 / (_width(shape, periodic) * np.arange(1, count + 1)))


def spectra(members_MHW: Array, truth_HW: Array, periodic: tuple[bool, bool]) -> dict[str, Array]:
    """The powers of `POWERS` by name, each [K]; that of the spread is (1 + 1/M) times the unbiased variance."""
    size, mean = len(members_MHW), members_MHW.mean(axis=0)
    deviations = power(members_MHW - mean, periodic).sum(axis=0) / (size - 1)
    return {
        "truth": power(truth_HW, periodic),
        "members": power(members_MHW, periodic).mean(axis=0),
        "error": power(mean - truth_HW, periodic),
        "spread": (1.0 + 1.0 / size) * deviations,
    }


def _width(shape: tuple[int, int], periodic: tuple[bool, bool]) -> float:
    shortest = min((n for n in shape if n > 1), default=1)
    return (2.0 if _wraps(shape, periodic) else 1.0) / shortest


def _wraps(shape: tuple[int, int], periodic: tuple[bool, bool]) -> bool:
    """Whether every direction that has more than one point wraps."""
    return max(shape) > 1 and all(wraps for n, wraps in zip(shape, periodic, strict=True) if n > 1)


def _bins(shape: tuple[int, int], periodic: tuple[bool, bool]) -> tuple[Array, int]:
    """The bin 1..K of every coefficient [H, W], 0 of the mean; and K."""
    axes = [
        2.0 * np.abs(np.fft.fftfreq(n)) if wraps else np.arange(n) / n for n, wraps in zip(shape, periodic, strict=True)
    ]
    alpha = np.hypot(axes[0][:, None], axes[1][None, :])
    width = _width(shape, periodic)
    # A Fourier transform has alpha = 1, a cosine transform ends at 1 - 1 / n.
    nyquist = any(wraps for n, wraps in zip(shape, periodic, strict=True) if n > 1)
    count = max(1, round(1.0 / width) - (0 if nyquist else 1))
    place = np.clip(np.rint(alpha / width).astype(int), 1, count)
    place[0, 0] = 0
    return place, count
