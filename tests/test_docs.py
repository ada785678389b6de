"""What the documentation tells people to do can be done: links lead somewhere, commands and options exist."""

import re
import runpy
from pathlib import Path

import pytest

from stormda.config import load
from stormda.errors import ConfigError

ROOT = Path(__file__).parents[1]
PAGES = sorted(p for g in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md") for p in ROOT.glob(g))
COMMANDS: dict[str, str] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["commands"]()
SHELL = re.compile(r"(?m)^(?:#\s+|  )?(stormda [a-z].*)$")


def written() -> list[tuple[str, str]]:
    """Every line that begins with `stormda` in pages, templates and examples."""
    places = [*PAGES, *ROOT.glob("templates/configs/*.yaml"), *ROOT.glob("examples/**/*.yaml")]
    places = [p for p in places if p.name != "cli.md"]
    return [
        (p.name, line.split("#")[0].strip()) for p in places for line in SHELL.findall(p.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize(("place", "line"), written())
def test_commands_and_options_exist(place: str, line: str) -> None:
    words = line.split()[1:]
    name = " ".join(words[:2]) if words[0] in ("bench", "config", "cycle") else words[0]
    assert name in COMMANDS, f"{place}: {line}"
    options = [w for w in words if w.startswith("-")]
    assert [o for o in options if not re.search(rf"(?<![\w-]){o}(?![\w-])", COMMANDS[name])] == []


@pytest.mark.parametrize(("place", "line"), written())
def test_overrides_exist(place: str, line: str) -> None:
    overrides = re.findall(r"(?<=\s)[a-z_]+(?:\.[a-z_]+)*=\S+", line)
    try:
        load(None, overrides, {"channels": ["msl"]})
    except ConfigError as error:
        pytest.fail(f"{place}: {line}: {error}")


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    named = {t for p in PAGES for t in re.findall(r"(?m)(?:^|`)make ([a-z]+)", p.read_text(encoding="utf-8"))}
    assert named <= targets and {"help", "install", "demo", "test", "check", "soak", "clean"} <= targets


def test_ci_runs_what_people_run() -> None:
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make check" in run
