"""What all tests share: the folder of real data, one thread, no colours."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `far_away`

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Small batched products are many times slower with two.


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that STORMDA_DATA names; the test is skipped where there is none."""
    name = os.environ.get("STORMDA_DATA")
    if not name:
        pytest.skip("STORMDA_DATA is not set: no real data")
    if not Path(name).is_dir():
        pytest.skip(f"STORMDA_DATA={name} is not a folder")
    return Path(name)
