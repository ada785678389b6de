"""Rules of the house that a tool cannot keep: complete packages, tested `__all__`, docstrings."""

import importlib
import pkgutil
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import stormda
import stormda.cli
import stormda.templates

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"stormda": "stormda", "stormda.cli": "cli", "stormda.templates": "templates"}
WITHOUT_ALL = {"stormda.__main__", "stormda.cli"}


def modules() -> list[str]:
    """Every module of the three folders, by the name it is imported under."""
    found = set(FOLDERS)
    for name, folder in FOLDERS.items():
        found |= {m.name for m in pkgutil.walk_packages([str(ROOT / folder)], f"{name}.") if "__main__" not in m.name}
    return sorted(found)


def test_the_list_of_packages_is_complete() -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    folders = [p.parent for name in FOLDERS.values() for p in (ROOT / name).rglob("__init__.py")]
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    names = {f"stormda.{n}" if n in ("cli", "templates") else n for n in names}
    assert set(setuptools["packages"]) == names
    assert setuptools["package-dir"] == FOLDERS


def test_one_version() -> None:
    assert PROJECT["project"]["version"] == stormda.__version__


def test_the_entry_point() -> None:
    (script,) = entry_points(group="console_scripts", name="stormda")
    assert script.load() is importlib.import_module("stormda.cli.main").main


@pytest.mark.parametrize("name", modules())
def test_a_module_says_what_it_is_and_what_it_gives(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    if name in WITHOUT_ALL or name.rsplit(".", 1)[-1].startswith("__"):
        return
    given = getattr(module, "__all__", None)
    if given is None:
        assert hasattr(module, "__path__"), f"{name} has no __all__"  # A package may be only a place for its modules.
        return
    assert len(given) == len(set(given)), f"{name}.__all__ names something twice"
    assert [n for n in given if not hasattr(module, n)] == []


def test_everything_that_a_module_gives_has_a_docstring() -> None:
    bare = []
    for name in modules():
        module = importlib.import_module(name)
        for given in getattr(module, "__all__", []):
            thing = getattr(module, given, None)
            ours = getattr(thing, "__module__", "").startswith("stormda") and callable(thing)
            if ours and isinstance(thing, type) | hasattr(thing, "__code__") and not (thing.__doc__ or "").strip():
                bare.append(f"{name}.{given}")
    assert bare == []


def test_every_file_of_data_is_packaged() -> None:
    """By suffix anywhere, or by its folder: what `package-data` lists."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    suffixes = {p.removeprefix("*") for p in patterns["*"]}
    folders = {
        ROOT / FOLDERS.get(k, k.replace(".", "/")) / p.removesuffix("/*") for k, v in patterns.items() for p in v
    }
    loose = [
        path
        for folder in FOLDERS.values()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} | suffixes and path.parent not in folders
    ]
    assert [p for p in loose if p.name != "py.typed"] == []
