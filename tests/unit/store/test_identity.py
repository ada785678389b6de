"""One station has one name, whatever file it came in."""

import numpy as np
import pandas as pd
import pytest

from stormda.store.identity import canonical, named


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("01027", "01027"),
        ("0001027", "01027"),  # padded to seven digits
        (1027, "01027"),  # a number lost its zero
        (1027.0, "01027"),  # ... and became a float beside a missing id
        ("0-20000-0-01027", "01027"),
        ("0-20001-0-10954", "10954"),
        ("0-705-0-1931", "0-705-0-1931"),  # a national WIGOS identifier has no WMO number
        ("6200093", "6200093"),  # a buoy's seven digits are its own
        (" DLH438 ", "DLH438"),
        ("New York", "New York"),
        ("SHIP", ""),
        (None, ""),
        (np.nan, ""),
    ],
)
def test_names(written: object, name: str) -> None:
    assert canonical([written]).tolist() == [name]


def test_a_series_keeps_its_order() -> None:
    ids = pd.Series(["B", "A", None, "B"], dtype="string")
    assert canonical(ids).tolist() == ["B", "A", "", "B"]


def test_canonical_is_idempotent() -> None:
    once = canonical(["1", "0071507", "0-20000-0-06260", "KJFK"])
    assert canonical(once).tolist() == once.tolist()


def test_the_nameless_are_called_by_their_place() -> None:
    ids = np.array(["", "A", "", ""], dtype=object)
    names = named(ids, np.array([59.3, 0.0, -0.5, np.nan]), np.array([18.06, 0.0, -120.25, 5.0]))
    assert names.tolist() == ["59.30N018.06E", "A", "00.50S120.25W", "unknown"]
