"""Members that a rank brings to a product: written as they are, and a disk that takes no more is told as such."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from stormda.distributed.world import World
from stormda.errors import OutputError
from stormda.layout import Whole
from stormda.pipeline.parts import UNCUT, Parts
from stormda.pipeline.shared import shared_members


class Alone(World):
    """One of two ranks, which does not wait for the other."""

    def wait(self) -> None:
        """Not here."""


class Twice(Whole):
    """The other part of a member is as this one."""

    def gather(self, x: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        return torch.cat([x, x], -1)


CUTS = {"members": UNCUT, "parts": Parts(Twice(), (4, 8), batch=2)}


@contextmanager
def small_disk() -> Iterator[None]:
    """RLIMIT_FSIZE: every write beyond 2 kB fails with EFBIG, as ENOSPC does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("members", [0, 1, 5])
def test_members_are_written_as_they_are(tmp_path: Path, how: str, members: int) -> None:
    x = torch.randn(members, 3, 4, 4)
    shared_members(Alone(rank=1, size=2), tmp_path, CUTS[how], analysis=x)
    written = np.load(tmp_path / "parts" / "analysis-000001.npy")
    wanted = x if how == "members" else torch.cat([x, x], -1)
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, wanted.numpy())


@pytest.mark.parametrize("how", CUTS)
def test_a_full_disk_is_no_failed_analysis(tmp_path: Path, how: str) -> None:
    with small_disk(), pytest.raises(OutputError, match="larger than allowed"):
        shared_members(Alone(rank=1, size=2), tmp_path, CUTS[how], analysis=torch.randn(20, 3, 4, 4))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="a file is where a folder should be"):
        shared_members(Alone(rank=1, size=2), tmp_path, analysis=torch.randn(1, 3, 4, 4))
