"""Files with random damage: the main process lives, nothing hangs, no row lacks a value or hides that it is nowhere,
no field that is read has a hole.

The everyday suite reads 100 damaged files of each kind, `make soak` 10 000. In one of 100 BUFR or HDF5 files
the damage keeps the library busy for longer than anybody waits: the worker's time limit is what ends it.
"""

from pathlib import Path

import pytest
from fuzz import SAMPLES, fuzz


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_hundred_damaged_files(tmp_path: Path, kind: str) -> None:
    check(kind, tmp_path, 100)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", SAMPLES)
def test_ten_thousand_damaged_files(tmp_path: Path, kind: str) -> None:
    check(kind, tmp_path, 10_000)


def check(kind: str, folder: Path, count: int) -> None:
    outcome = fuzz(kind, folder, count)
    assert outcome.wrong == []
    assert outcome.read + outcome.refused == outcome.files == count
    # Most damage is seen, and some files are read in spite of it: else it is the sample that is wrong.
    assert outcome.refused > 0
