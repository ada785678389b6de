"""What one analysis leaves for the next, and what a cycle that did not run leaves."""

import torch

from stormda.assimilation.memory import missed, remember
from stormda.diffusion.history import History

SHAPE = (1, 2, 3)


def test_a_missing_cycle_is_a_frame_that_is_not_there() -> None:
    members = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    one = remember(History.none(3, SHAPE), members, torch.eye(2))
    assert one.mask.tolist() == [False, False, True] and one.age == 1
    after = missed(one)
    assert after.mask.tolist() == [False, True, False] and after.age == 2 and after.covariance is one.covariance
    torch.testing.assert_close(after.mean[1], one.mean[2])
    torch.testing.assert_close(after.error[1], one.error[2])
    assert bool((after.mean[2] == 0).all()) and bool((after.error[2] == 1).all())  # as `History` says of missing frames
    again = remember(after, members, None)
    assert again.mask.tolist() == [True, False, True]
    assert not missed(missed(missed(again))).mask.any()
