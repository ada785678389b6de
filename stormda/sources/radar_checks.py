"""Checks of radar echoes, while they still are a picture: what is no rain, and what the radar cannot know.

A gate that fails keeps its value and gets a code; the first reason stays.

`BEAM`      nearer than `nearest`, where side lobes see the ground, or higher than `highest`, where a wide beam looks
            above the weather.
`CLUTTER`   echoes that are no rain. The co-polar correlation of rain and snow is above 0.9, of ground, sea, insects and
            birds far below. Without it: ground clutter is rough and stands still, so the mean squared step of
            reflectivity from gate to gate (texture, over 3 rays and 9 gates; Hubbert et al. 2009,
            https://doi.org/10.1175/2009JTECHA1160.1, take 45 dB2 and more for clutter) beyond `texture` where the
            velocity is below `still`; where the sweep has no velocities, below 2 km above the antenna.
`SPECKLE`   fewer than `speckle` of the eight neighbours have an echo: electronic interference, a bird, noise.
`FOLDED`    a Doppler radar knows velocities modulo twice the Nyquist velocity V. They are unfolded first
            (radar_unfold.py). Gates whose neighbours differ by less than V belong to one region; where two regions
            still meet with a step of more than V, one of them is aliased, most likely the smaller one, and is flagged.
            An alias that fills the whole picture has no step: that is left to the background check. Where the file does
            not tell V, nothing is unfolded, and the largest speed of the sweep is taken for it, which is no larger.
"""

__all__ = ["clutter", "folded", "goes_round", "speckle", "sweep_codes"]

import numpy as np
from scipy import ndimage

from stormda.config import RadarChecks
from stormda.observations import QC
from stormda.sources.radar_unfold import borders
from stormda.sources.radar_volume import Moment, Sweep
from stormda.types import Array

_WINDOW = (3, 9)  # rays and gates
_LOW = 2000.0  # m above the antenna
_FULL = 350.0  # degrees: a sweep that covers more goes round


def sweep_codes(sweep: Sweep, height: Array, antenna: float, checks: RadarChecks) -> dict[str, Array]:
    """QC codes of the gates of `dbz` and `vr`.

    Args:
        sweep: n rays of g gates.
        height: of the gates, m above mean sea level [n, g].
        antenna: height of the antenna, m above mean sea level.
        checks: limits.

    Returns:
        By variable, `QC` codes [n, g].
    """
    beyond = (sweep.distance[None, :] < checks.nearest) | (height > checks.highest)
    round_ = goes_round(sweep)
    ground = clutter(sweep, height - antenna < _LOW, checks)
    codes: dict[str, Array] = {}
    for name in ("dbz", "vr"):
        if name not in sweep.moments:
            continue
        moment = sweep.moments[name]
        alone = speckle(np.isfinite(moment.value), checks.speckle, round_)
        reasons = [(beyond, QC.BEAM), (ground & np.isfinite(moment.value), QC.CLUTTER), (alone, QC.SPECKLE)]
        if name == "vr" and not checks.dealiased:
            reasons.append((folded(moment.value, sweep.nyquist, round_), QC.FOLDED))
        codes[name] = np.select([r for r, _ in reasons], [int(c) for _, c in reasons], int(QC.USED))
    return codes


def goes_round(sweep: Sweep) -> bool:
    """Whether the last ray is the neighbour of the first."""
    azimuth = np.sort(sweep.azimuth % 360.0)
    return bool(len(azimuth) > 2 and np.diff(azimuth, append=azimuth[0] + 360.0).max() < 360.0 - _FULL)


def speckle(echo: Array, fewest: int, wrap: bool) -> Array:
    """Whether an echo has fewer than `fewest` echoes among its eight neighbours [n, g]."""
    if fewest == 0:
        return np.zeros(echo.shape, dtype=bool)
    number = echo.astype(np.int8)
    padded = np.pad(number, ((1, 1), (0, 0)), mode="wrap" if wrap else "constant")
    padded = np.pad(padded, ((0, 0), (1, 1)))
    rows, columns = echo.shape
    around = sum(padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)) - number
    return np.asarray(echo & (around < fewest))


def clutter(sweep: Sweep, low: Array, checks: RadarChecks) -> Array:
    """Whether an echo is of something else than rain [n, g]; `low`: gates where that is likely without velocities."""
    shape = (len(sweep.azimuth), len(sweep.distance))
    found = np.zeros(shape, dtype=bool)
    correlation = _on(sweep, "rhohv", shape)
    if correlation is not None:
        found |= correlation < checks.correlation  # False for NaN
    reflectivity = _on(sweep, "dbz", shape)
    if reflectivity is not None:
        velocity = _on(sweep, "vr", shape)
        standing = low if velocity is None else np.abs(velocity) < checks.still
        found |= (texture(reflectivity) > checks.texture) & standing
    return found


def _on(sweep: Sweep, name: str, shape: tuple[int, int]) -> Array | None:
    moment: Moment | None = sweep.moments.get(name)
    return moment.value if moment is not None and moment.value.shape == shape else None


def texture(reflectivity: Array) -> Array:
    """Mean squared step from gate to gate in a window around each gate [dB2]; 0 where there are no two echoes."""
    step = np.diff(reflectivity, axis=1, prepend=np.float32(np.nan))
    known = np.isfinite(step)
    total = ndimage.uniform_filter(np.where(known, step**2, 0.0).astype(np.float64), _WINDOW, mode="constant")
    share = ndimage.uniform_filter(known.astype(np.float64), _WINDOW, mode="constant")
    few = share < 1.0 / (_WINDOW[0] * _WINDOW[1]) - 1e-9
    return np.where(few, 0.0, total / np.where(few, 1.0, share))


def folded(velocity: Array, nyquist: float, wrap: bool) -> Array:
    """Whether a velocity [m s-1] is in a region that meets a larger one with a step of more than `nyquist` [n, g]."""
    known = np.isfinite(velocity)
    if not known.any():
        return np.zeros(velocity.shape, dtype=bool)
    limit = nyquist if np.isfinite(nyquist) else float(np.abs(velocity[known]).max())
    region, a, b, _ = borders(velocity, limit, wrap)
    size = np.bincount(region)
    smaller = np.where(size[a] < size[b], a, b)
    bad = np.zeros(len(size), dtype=bool)
    bad[smaller] = True
    return np.asarray((bad[region] & known.ravel()).reshape(velocity.shape))
