"""Withheld observations: whole stations kept out of the analysis, to verify it.

A station is withheld where u(station, seed) < fraction, with u the first eight bytes of SHA-256 of `station|seed` as a
fraction of 2^64: uniform, the same for every source, method, machine and day, and new with every seed. Neighbouring
values of one station share their errors, so that one half of a station cannot verify the other.
"""

__all__ = ["uniform", "withhold"]

import hashlib

import numpy as np
import pyarrow.compute as pc

from stormda.config import WithholdConfig
from stormda.observations import Observations
from stormda.store.identity import canonical


def uniform(station: str, seed: int) -> float:
    """A number in [0, 1) that belongs to a station and a seed."""
    return int.from_bytes(hashlib.sha256(f"{station}|{seed}".encode()).digest()[:8], "big") / 2.0**64


def withhold(observations: Observations, config: WithholdConfig, seed: int) -> Observations:
    """Set `withheld` on all rows of the chosen stations, and on no other; the QC codes stay as they are."""
    if len(observations) == 0:
        return observations
    stations = pc.dictionary_encode(observations.table.column("station_id").combine_chunks())
    names = [str(s) for s in stations.dictionary.to_pylist()]
    if config.stations:
        chosen = np.isin(names, list(canonical(config.stations)))
    else:
        chosen = np.array([uniform(n, seed) < config.fraction for n in names], dtype=bool)
    return observations.replace(withheld=chosen[stations.indices.to_numpy(zero_copy_only=False)])
