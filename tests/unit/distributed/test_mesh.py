"""Ranks go to the ensemble, unless a member is too large for one of them or somebody says otherwise."""

import math

import pytest

from stormda.distributed.mesh import Shape, choose
from stormda.distributed.world import ALONE, World
from stormda.errors import ConfigError

GIB = 2.0**30


def test_ranks_go_to_the_ensemble_first() -> None:
    assert choose(1) == Shape(1, 1, 1)
    assert choose(6) == Shape(6, 1, 1)
    assert choose(8, shard=2) == Shape(4, 1, 2)
    assert str(choose(8, shard=2)) == "ensemble 4 x tile 1 x shard 2"


def test_a_member_that_is_too_large_is_cut_into_the_fewest_tiles() -> None:
    assert choose(12, need=70 * GIB, room=80 * GIB) == Shape(12, 1, 1)
    assert choose(12, need=200 * GIB, room=80 * GIB) == Shape(4, 3, 1)
    assert choose(8, need=200 * GIB, room=80 * GIB) == Shape(2, 4, 1)  # 3 does not divide 8.
    with pytest.raises(ConfigError, match=r"takes 900.0 GiB, more than 8 ranks of 80.0 GiB have"):
        choose(8, need=900 * GIB, room=80 * GIB)


def test_by_hand() -> None:
    assert choose(8, ensemble=2, tile=4) == Shape(2, 4, 1)
    assert choose(8, ensemble=2) == Shape(2, 4, 1)
    assert choose(8, tile=2, need=math.inf, room=GIB) == Shape(4, 2, 1)


@pytest.mark.parametrize("axes", [{"ensemble": 3}, {"tile": 3}, {"shard": 5}, {"ensemble": 4, "tile": 4}])
def test_a_mesh_of_other_ranks_is_refused(axes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="8 processes were started, which is no mesh of"):
        choose(8, **axes)


@pytest.mark.parametrize(("members", "batch", "ranks"), [(8, 4, 2), (10, 4, 2), (7, 2, 3), (4, 8, 3), (64, 4, 5)])
def test_every_member_is_drawn_once_in_whole_batches(members: int, batch: int, ranks: int) -> None:
    shares = [World(r, ranks).share(members, batch) for r in range(ranks)]
    assert [m for share in shares for m in share] == list(range(members))
    assert all(share.start % batch == 0 for share in shares if share)
    batches = [math.ceil(len(share) / batch) for share in shares]
    assert max(batches) - min(batches) <= 1


def test_one_process_asks_nobody() -> None:
    assert ALONE.leads and list(ALONE.share(5, 2)) == [0, 1, 2, 3, 4]
    assert ALONE.spread(lambda: "read") == "read"
    ALONE.wait()
