"""Unfolding radial velocities: what a Doppler radar knows modulo twice its Nyquist velocity V, made continuous.

A pulsed radar measures v modulo 2 V. Gates next to each other that differ by at most V belong to one region, within
which nothing is folded; where two regions meet, the steps across their border tell by how many times 2 V the second is
off, k = -round(mean step / 2 V). Regions are joined along their borders, the longest first, each with what it adds, so
that the noise of a short border decides nothing that a long one has decided. A group of regions that touch is then
right up to one multiple of 2 V: where it sees more than half of the horizon, the one that leaves least of c in

    v(A) = a sin A + b cos A + c        A: azimuth; a wind that is the same everywhere has c = 0, whatever its speed

(Browning and Wexler 1968, The determination of kinematic properties of a wind field using Doppler radar, JAM 7);
elsewhere the largest region keeps its velocities.

Where two borders contradict each other a step of more than V remains; the check for folding (radar_checks.py) flags the
smaller side of it. Regions that touch no other, and pictures that are folded as a whole, cannot be told from a wind
that is so: the background check is for them.

Sources: Jing and Wiener 1993, Two-dimensional dealiasing of Doppler velocities, JTECH 10, 798-808 (continuity over both
directions at once); Helmus and Collis 2016, https://doi.org/10.5334/jors.119 (regions that are joined along their
borders, in Py-ART; nothing of it is used here).
"""

__all__ = ["borders", "unfold"]

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stormda.types import Array

_FEWEST, _SECTOR = 50, 10.0  # gates of a group that is centred, and degrees of the sectors that it has to see
_MOST = 4  # times 2 V: more is an error of joining, not wind


def borders(velocity: Array, limit: float, wrap: bool) -> tuple[Array, Array, Array, Array]:
    """Regions of gates that differ by at most `limit`, and the steps between them.

    Args:
        velocity: m s-1, NaN where there is none [rays, gates].
        limit: m s-1.
        wrap: whether the last ray is the neighbour of the first.

    Returns:
        The region of each gate [rays x gates], and of each pair of gates on a border the regions of both [n] and the
        step from the first to the second [n].
    """
    known = np.isfinite(velocity)
    number = np.arange(velocity.size).reshape(velocity.shape)
    down = np.roll(number, -1, axis=0) if wrap else number[1:]
    pairs = [(number if wrap else number[:-1], down), (number[:, :-1], number[:, 1:])]
    first, second = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
    flat = velocity.ravel()
    both = known.ravel()[first] & known.ravel()[second]
    first, second = first[both], second[both]
    step = flat[second] - flat[first]
    near = np.abs(step) <= limit
    graph = coo_array((np.ones(near.sum(), dtype=np.int8), (first[near], second[near])), shape=(flat.size,) * 2)
    region = connected_components(graph, directed=False)[1]
    a, b = region[first[~near]], region[second[~near]]
    apart = a != b
    return region, a[apart], b[apart], step[~near][apart]


def unfold(velocity: Array, nyquist: float, azimuth: Array, wrap: bool) -> Array:
    """Velocities with the multiples of 2 `nyquist` that make them continuous [rays, gates].

    Args:
        velocity: m s-1, NaN where there is none [rays, gates].
        nyquist: m s-1; where it is not known (NaN) nothing can be unfolded.
        azimuth: of the rays, degrees [rays].
        wrap: whether the last ray is the neighbour of the first.
    """
    if not np.isfinite(nyquist) or not np.isfinite(velocity).any():
        return velocity
    region, a, b, step = borders(velocity, nyquist, wrap)
    if a.size == 0:
        return velocity
    size = np.bincount(region[np.isfinite(velocity).ravel()], minlength=int(region.max()) + 1)
    folds, group = _folds(size, *_joints(a, b, step, 2.0 * nyquist))
    folds += _centred(
        velocity + (2.0 * nyquist * folds[region]).reshape(velocity.shape), group[region], azimuth, nyquist
    )[group]
    out = velocity + (2.0 * nyquist * folds[region]).reshape(velocity.shape)
    return np.asarray(np.where(np.abs(folds[region]).reshape(velocity.shape) <= _MOST, out, velocity), velocity.dtype)


def _joints(a: Array, b: Array, step: Array, fold: float) -> tuple[Array, Array, Array]:
    """Pairs of regions, the longest border first: both regions, and the folds to add to the second beside the first."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    rise = np.where(a < b, step, -step)
    pairs, which = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    which = which.ravel()
    length = np.bincount(which)
    k = -np.round(np.bincount(which, weights=rise) / length / fold).astype(np.int64)
    order = np.argsort(-length, kind="stable")
    return pairs[0][order], pairs[1][order], k[order]


def _centred(velocity: Array, group: Array, azimuth: Array, nyquist: float) -> Array:
    """Folds to add to each group, by number; 0 where it does not see enough of the horizon."""
    known = np.isfinite(velocity)
    ray = np.broadcast_to(np.arange(len(azimuth))[:, None], velocity.shape)
    gates = np.bincount(group, weights=known.ravel())
    folds = np.zeros(len(gates), dtype=np.int64)
    for one in np.flatnonzero(gates >= _FEWEST):
        mine = known & (group == one).reshape(velocity.shape)
        count = np.bincount(ray[mine], minlength=len(azimuth))
        seen = count > 0
        if len(np.unique(azimuth[seen] % 360.0 // _SECTOR)) <= 180.0 / _SECTOR:
            continue
        mean = np.bincount(ray[mine], weights=velocity[mine], minlength=len(azimuth))[seen] / count[seen]
        angle, weight = np.deg2rad(azimuth[seen]), np.sqrt(count[seen])
        waves = np.stack([np.sin(angle), np.cos(angle), np.ones(len(angle))], axis=1)
        c = np.linalg.lstsq(waves * weight[:, None], mean * weight, rcond=None)[0][2]
        folds[one] = -round(float(c) / (2.0 * nyquist))
    return folds


def _folds(size: Array, first: Array, second: Array, k: Array) -> tuple[Array, Array]:
    """Folds to add to each region, and its group: a forest of regions, each with what it adds to its parent."""
    parent, extra = np.arange(len(size)), np.zeros(len(size), dtype=np.int64)
    largest = np.arange(len(size))  # region of each group

    def root(i: int) -> tuple[int, int]:
        path, total = [], 0
        while parent[i] != i:
            path.append(i)
            i = int(parent[i])
        for j in reversed(path):  # straight to the root, so that the next way is short
            total += int(extra[j])
            parent[j], extra[j] = i, total
        return i, total

    for i, j, folds in zip(first.tolist(), second.tolist(), k.tolist(), strict=True):
        (r, mine), (s, other) = root(i), root(j)
        if r == s:
            continue
        # folds(j) = folds(i) + k, and folds(x) = folds(root) + total: what s adds to r.
        parent[s], extra[s] = r, mine + folds - other
        if size[largest[s]] > size[largest[r]]:
            largest[r] = largest[s]
    places = [root(i) for i in range(len(size))]
    own = np.array([total for _, total in places])
    group = np.array([r for r, _ in places])
    return own - own[largest[group]], group
