"""The size of the network: by name or key by key, and what cannot be is said."""

import pytest

from stormda.config import Config, StormConfig, dump, load
from stormda.config.presets import PRESETS
from stormda.errors import ConfigError

BASE = {"channels": ["msl"]}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_size_and_given_keys_win(name: str) -> None:
    config = load(None, [f"storm={{preset: {name}, latents: 16}}"], BASE).storm
    assert config.arguments() == {"patch": 1} | PRESETS[name].arguments() | {"latents": 16, "dilation": 1}


def test_a_preset_written_out_and_read_again_is_the_same() -> None:
    config = load(None, ["storm={preset: nano, tile: 4}"], BASE)
    again = load(None, [], Config.model_validate(config.model_dump()).model_dump(mode="json"))
    assert again.storm == config.storm and "preset: nano" in dump(config)


def test_without_tiles_only_what_matters_is_handed_on() -> None:
    wanted = {"patch": 1, "width": 96, "blocks": 4, "heads": 4, "latents": 32}
    assert StormConfig().arguments() == wanted
    assert StormConfig(tile=64, halo=0).arguments() == wanted | {"tile": 64, "halo": 0, "dilation": 1}


@pytest.mark.parametrize(
    ("value", "key", "what"),
    [
        ("preset: 9M", "storm.preset", "'9M' is not possible here"),
        ("tile: -1", "storm.tile", "greater than or equal to 0"),
        ("halo: -1", "storm.halo", "greater than or equal to 0"),
        ("dilation: 0", "storm.dilation", "greater than or equal to 1"),
        ("dilation: 2", "storm", "a dilation of 2 needs tiles"),
        ("width: 24", "storm", "6 numbers a head"),
        ("transport: {errors: true}, background_modes: 0", "storm", "needs transport.steps"),
        ("transport: {steps: 9, errors: true}", "storm", "background_modes: 0"),
        ("transport: {steps: 9, errors: true}, modes: 0, background_modes: 0", "storm", "modes above 0"),
        ("preset: 10M, heads: 3", "storm", "the width 256 is not a multiple of 3 heads"),
    ],
)
def test_what_cannot_be(value: str, key: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        load(None, [f"storm={{{value}}}"], BASE)
    assert error.value.key == key and "\n" not in str(error.value)
