"""What `stormda init` writes is valid, complete, and says the defaults that there are."""

import re
from pathlib import Path

import pytest
import yaml

from stormda.config import Config, Section, load
from stormda.errors import ConfigError
from stormda.templates import configuration, names

ROOT = Path(__file__).parents[3]


def test_the_three_templates() -> None:
    assert names() == ["europe", "minimal", "sqg-demo", "weather-demo"]
    with pytest.raises(ConfigError, match="there is no template 'x'"):
        configuration("x")


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_example_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORMDA_DATA", "/data")
    load(path)


@pytest.mark.parametrize("name", names())
def test_every_template_is_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORMDA_DATA", "/data")
    (tmp_path / "config.yaml").write_text(configuration(name))
    assert load(tmp_path / "config.yaml").name == name


def uncommented() -> str:
    """minimal.yaml with its settings at work: below the head, `#` before a key or an indented line."""
    return re.sub(r"(?m)^#(?=\w|  +\S)", "", configuration("minimal").split("\n\n", 1)[1])


def test_minimal_says_the_defaults(tmp_path: Path) -> None:
    for name, text in (("commented", configuration("minimal")), ("set", uncommented())):
        (tmp_path / f"{name}.yaml").write_text(text)
    commented, is_set = load(tmp_path / "commented.yaml"), load(tmp_path / "set.yaml")
    assert is_set.model_dump() == commented.model_dump()


def test_minimal_names_every_key_of_every_section() -> None:
    tree = yaml.safe_load(uncommented())
    sections = {name: f.annotation for name, f in Config.model_fields.items()}
    missing = set(sections) - set(tree)
    for name, kind in sections.items():
        if isinstance(kind, type) and issubclass(kind, Section):
            missing |= {f"{name}.{key}" for key in set(kind.model_fields) - set(tree[name])}
    assert missing == set()


def test_the_template_europe_is_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for its place, one split of the stations instead of twenty, and the training of a network."""
    monkeypatch.setenv("STORMDA_DATA", "/data")
    (tmp_path / "config.yaml").write_text(configuration("europe"))
    same = ["run_dir=x", "quality.withhold.seeds=0", "assimilate.step=24h"]
    template = load(tmp_path / "config.yaml", same)
    example = load(ROOT / "examples" / "europe" / "february-2019.yaml", same)
    own = {"storm", "train"}
    assert template.model_dump(exclude=own) == example.model_dump(exclude=own)
