"""From a file and overrides to a `Config`, and back to text."""

__all__ = ["dump", "load", "schema"]

import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from stormda.config.explain import explain
from stormda.config.fields import write_duration
from stormda.config.tree import Config, resolve
from stormda.errors import ConfigError, InputMissing, StormdaError

_LONGEST = 1 << 20  # characters of a file
_MOST = 100_000  # values, aliases written out


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error, and a date is left to the field that reads it."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node; raises ConstructorError at the second of two equal keys."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key}' is there twice", node.value[number][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """YAML as data, no objects; raises YAMLError."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _text(path: Path) -> str:
    """What a configuration file holds, and not more of it than one can hold."""
    with path.open(encoding="utf-8") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ConfigError(f"more than {_LONGEST} characters are no configuration", file=path)
    return text


def _size(node: Any, above: tuple[int, ...] = (), known: dict[int, int] | None = None) -> int:
    """How many nodes a tree has when its aliases are written out; one that contains itself has no end."""
    known = {} if known is None else known
    if not isinstance(node, (dict, list)):
        return 1
    if id(node) in above:
        return _MOST + 1
    if id(node) not in known:
        children = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_size(child, (*above, id(node)), known) for child in children)
    return known[id(node)]


def _read(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a file on top of the one that it extends."""
    try:
        text = _text(path)
    except FileNotFoundError:
        hint = "stormda init NAME writes one"
        raise ConfigError("the configuration file does not exist", file=path, hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file cannot be read: {error}", file=path) from error
    try:
        tree = _parse(text)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"not valid YAML{line}: {error.problem}", file=path) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", file=path) from error
    if not isinstance(tree, dict):
        hint = "stormda init NAME writes one"
        raise ConfigError("the configuration is empty or not a mapping", file=path, hint=hint)
    if _size(tree) > _MOST:
        raise ConfigError(f"more than {_MOST} values, its aliases written out, are no configuration", file=path)
    if (parent := tree.pop("extends", None)) is None:
        return tree
    below = resolve(path.parent, str(parent)).resolve()
    if below in (family := (*children, path.resolve())):
        raise ConfigError("the configuration extends itself", file=path, key="extends")
    return _merge(_read(below, family), tree)


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, mapping by mapping; one of another `kind` takes the place of the old one."""
    out = dict(base)
    for key, value in top.items():
        old = out.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind") in (None, old.get("kind")):
            value = _merge(old, value)
        out[key] = value
    return out


def _override(tree: dict[str, Any], text: str) -> None:
    """Replace the value at `key.sub` of `key.sub=value`; sections on the way are made."""
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is not an override", hint="write it as key.sub=value")
    try:
        value = _parse(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of '{text}' is not valid YAML", key=key) from error
    node: Any = tree
    *parents, last = key.strip().split(".")
    for part in parents:
        if isinstance(node, list):
            node = _item(node, part, key)
            continue
        if not isinstance(node.get(part), (dict, list)):
            node[part] = {}
        node = node[part]
    if isinstance(node, list):
        _item(node, last, key)
        node[int(last)] = value
    else:
        node[last] = value


def _item(node: list[Any], part: str, key: str) -> Any:
    """The item of a list that a number names."""
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"'{part}' is no place in a list of {len(node)}", key=key)
    return node[int(part)]


def _expand(node: Any, file: Path | None, key: str = "") -> Any:
    """Replace `${NAME}` in every text; a variable that is not set is an error that names the key."""
    if isinstance(node, dict):
        return {k: _expand(v, file, f"{key}.{k}" if key else str(k)) for k, v in node.items()}
    if isinstance(node, list):
        return [_expand(v, file, f"{key}.{i}") for i, v in enumerate(node)]
    if not isinstance(node, str):
        return node

    def lookup(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if not value:
            hint = f"export {match[1]}=/path/to/data"
            raise InputMissing(f"the environment variable {match[1]} is not set", file=file, key=key, hint=hint)
        return value

    return re.sub(r"\$\{(\w+)\}", lookup, node)


def load(
    path: str | os.PathLike[str] | None, overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> Config:
    """Read a configuration file, apply overrides and validate.

    Args:
        path: a YAML file; None to start from `base` alone.
        overrides: `key.sub=value` texts.
        base: a tree that the file is merged into.

    Raises:
        ConfigError: not there, not YAML, an unknown key, a wrong value.
        InputMissing: an environment variable that is not set.
    """
    file = None if path is None else Path(path)
    tree = dict(base or {})
    if file is not None:
        tree = _merge(tree, _read(file))
    written = deepcopy(tree)
    for text in overrides:
        _override(tree, text)
    try:
        config = Config.model_validate(_expand(tree, file))
    except ValidationError as error:
        wrong = explain(error, file)
        if overrides and str(_problem(written, file)) != str(wrong):
            raise ConfigError(f"{wrong.what}, on the command line", key=wrong.key, hint=wrong.hint) from None
        raise wrong from None
    config._folder = (file.parent if file is not None else Path(".")).resolve()
    return config


def _problem(tree: dict[str, Any], file: Path | None) -> StormdaError | None:
    """What is wrong with the file itself, without overrides."""
    try:
        Config.model_validate(_expand(tree, file))
    except ValidationError as error:
        return explain(error, file)
    except InputMissing as error:
        return error
    return None


class _Schema(GenerateJsonSchema):
    """A schema whose defaults are written as people write them."""

    def encode_default(self, dft: Any) -> Any:
        """`6h` for a span."""
        return write_duration(dft) if isinstance(dft, np.timedelta64) else super().encode_default(dft)


def dump(config: Config, folder: Path | None = None) -> str:
    """The whole configuration as YAML, every default written out.

    Args:
        config: the configuration.
        folder: where the text will be kept, if not beside the file that it came from. Then paths are written so that
            they mean the same from there: inputs whole, `run_dir` relative to `folder`, so that a run that is moved
            as a whole remains itself.
    """
    if folder is None:
        tree = config.model_dump(mode="json")
    else:
        tree = config.model_dump(mode="json", context=config.path)
        tree["run_dir"] = os.path.relpath(config.run, folder)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration, for editors."""
    return Config.model_json_schema(schema_generator=_Schema)
