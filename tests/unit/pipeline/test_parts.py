"""Analyses that cannot be drawn in parts are refused before anything is done, with the key and the way out."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stormda.assimilation.storm_prior import StormPrior
from stormda.config import load
from stormda.distributed.world import ALONE, World
from stormda.errors import ConfigError
from stormda.nn.storm import Storm
from stormda.pipeline.parts import UNCUT, Parts, parts_of, possible


@pytest.mark.parametrize(
    "asked, told",
    [
        ("assimilate.method=gaussian", "method gaussian"),
        ("assimilate.method=letkf", "method letkf"),
        ("assimilate.inflation=innovations", "assimilate.inflation=innovations"),
        ("assimilate.background=nwp.nc", r"a state from elsewhere \(assimilate.background\)"),
        ("window.frames=3", "window.frames=3"),
    ],
)
def test_what_needs_a_whole_member(asked: str, told: str) -> None:
    words = ["assimilate.method=storm", asked]
    possible(load(None, words, {"channels": ["msl"]}))
    with pytest.raises(ConfigError, match=f"{told} needs all of a member in one process") as error:
        possible(load(None, [*words, "parallel.tile=2"], {"channels": ["msl"]}))
    assert error.value.key == "parallel.tile" and "parallel.tile=1" in str(error.value)


@pytest.mark.parametrize("asked", ["assimilate.method=kf", "window.frames=2"])
def test_what_needs_a_whole_network(asked: str) -> None:
    words = ["assimilate.method=storm", "assimilate.inflation=innovations", "parallel.shard=2"]
    possible(load(None, words, {"channels": ["msl"]}))
    with pytest.raises(ConfigError, match="needs all of the network in one process") as error:
        possible(load(None, [*words, asked], {"channels": ["msl"]}))
    assert error.value.key == "parallel.shard"


def test_a_network_that_looks_at_everything() -> None:
    cut: Any = {"tile": SimpleNamespace(size=lambda: 2)}
    two, size = World(mesh=cut, parts=2), dict[str, Any](patch=2, width=16, blocks=1, heads=2, latents=2)
    network = Storm(1, (4, 4), torch.zeros(1, 4, 4), periodic=(True, True), frames=1, **size)
    prior = object.__new__(StormPrior)
    prior.model = SimpleNamespace(network=network)  # type: ignore[assignment]
    assert parts_of(prior, ALONE, 4) is UNCUT
    with pytest.raises(ConfigError, match="trained with storm.tile=0") as error:
        parts_of(prior, two, 4)
    assert error.value.key == "storm.tile"
    with pytest.raises(ConfigError, match="a model without a network"):
        parts_of(None, two, 4)


def test_one_process_has_whole_members() -> None:
    x = torch.randn(3, 1, 2, 2)
    parts = Parts(batch=2)
    assert not parts.several and torch.equal(torch.cat([*parts.wholes(x)]), x)
    assert [len(part) for part in parts.wholes(x)] == [2, 1]
