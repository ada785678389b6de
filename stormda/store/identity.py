"""Station identities: one station has one name, whatever file it came in.

Providers write the same WMO station as `1027` (a number that lost its zero), `01027`, `0001027` (padded to seven
digits) or `0-20000-0-01027` (a WIGOS identifier that wraps the WMO number). Withholding, blacklists and duplicates
across sources need one name: the five digits. Whoever reports under no name, or under one that many share (`SHIP`), is
named by place.
"""

__all__ = ["canonical", "named"]

from collections.abc import Iterable

import numpy as np
import pandas as pd

from stormda.types import Array

_WIGOS = r"^0-2000\d-0-(\d{1,5})$"
_SHARED = ("", "nan", "None", "NA", "<NA>", "SHIP", "BUOY", "PLAT", "RIGG", "ASCII")


def canonical(ids: Iterable[object] | pd.Series) -> Array:
    """The canonical names of stations, as objects.

    Args:
        ids: names or numbers [n]; white space around them and the `.0` of a number read as float are dropped.

    Returns:
        names [n]; '' where there is none, or none that a station has for itself.
    """
    series = ids if isinstance(ids, pd.Series) else pd.Series(list(ids), dtype=object)
    codes, unique = pd.factorize(series)  # A few thousand stations report a hundred thousand times.
    words = pd.Series(unique).astype(str).str.strip()
    words = words.str.replace(r"^(\d+)\.0$", r"\1", regex=True).str.replace(_WIGOS, r"\1", regex=True)
    words = words.str.replace(r"^00(\d{5})$", r"\1", regex=True)
    digits = words.str.fullmatch(r"\d{1,4}")
    words = words.where(~digits, words.str.zfill(5))
    words = words.where(~words.isin(_SHARED), "")
    return np.append(words.to_numpy(dtype=object), "")[codes]


def named(ids: Array, latitude: Array, longitude: Array) -> Array:
    """`ids` with the nameless called by their place, to a hundredth of a degree: `59.30N018.06E`."""
    nameless = np.flatnonzero(ids == "")
    if nameless.size == 0:
        return ids
    out = ids.copy()
    out[nameless] = [_place(a, b) for a, b in zip(latitude[nameless], longitude[nameless], strict=True)]
    return out


def _place(latitude: float, longitude: float) -> str:
    if not (np.isfinite(latitude) and np.isfinite(longitude)):
        return "unknown"
    return f"{abs(latitude):05.2f}{'NS'[int(latitude < 0)]}{abs(longitude):06.2f}{'EW'[int(longitude < 0)]}"
