"""What is wrong with a configuration, in one line: the key, the problem, and the nearest thing that would be right.

pydantic tells the place of a problem as a path through the tree in which the `kind` of a source counts as a step; the
walk along the types of `Config` drops it, and finds the section whose keys are the valid ones.
"""

__all__ = ["explain"]

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stormda.config.fields import Section
from stormda.config.tree import Config
from stormda.errors import ConfigError

_NEEDED = {"model_type": "a section with keys", "dict_type": "a section with keys", "tuple_type": "a list"}
_SCHEMA = "stormda config schema lists every key"


def explain(error: ValidationError, file: Path | None) -> ConfigError:
    """The first problem as an error of ours, and how many more there are."""
    # A list that has lost its wrong items counts as too short as well: that is no problem of its own.
    problems = [p for p in error.errors(include_url=False) if p["type"] != "too_short" or not p["input"]]
    problems.sort(key=lambda p: p["type"] != "extra_forbidden")  # A mistyped key explains why another one is missing.
    first, more = problems[0], len(problems) - 1
    place, section = _walk(first["loc"])
    what, hint = _words(first, section)
    if more:
        what = f"{what} (and {more} more problem{'s' if more > 1 else ''})"
    return ConfigError(what, file=file, key=".".join(place) or None, hint=hint)


def _words(problem: ErrorDetails, section: type[Section] | None) -> tuple[str, str]:
    """What is wrong, and a hint."""
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "stormda":
        return context["what"], context["hint"] or _SCHEMA
    if kind == "extra_forbidden":
        key = str(problem["loc"][-1])
        return f"unknown key '{key}'", _nearest(key, list(section.model_fields) if section else [])
    if kind == "missing":
        return f"'{problem['loc'][-1]}' is not given", _SCHEMA
    if kind == "too_short":
        return "nothing is given", _SCHEMA
    if kind == "literal_error":
        return f"'{given}' is not possible here", _nearest(given, _quoted(context["expected"]))
    if kind == "union_tag_invalid":
        return f"unknown kind '{context['tag']}'", _nearest(context["tag"], _quoted(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return "'kind' is not given", _SCHEMA
    if kind in _NEEDED:
        return f"{_NEEDED[kind]} is needed here (it is {given!r})", _SCHEMA
    said = problem["msg"].removeprefix("Value error, ")
    return (said if isinstance(given, dict) or kind == "value_error" else f"{said} (it is {given!r})"), _SCHEMA


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _nearest(given: object, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(given), choices, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"one of {', '.join(choices)}" if choices else _SCHEMA


def _walk(location: Sequence[str | int]) -> tuple[list[str], type[Section] | None]:
    """The keys of a location, without tags, and the section that its last step belongs to."""
    here: Any = Config
    place: list[str] = []
    section: type[Section] | None = None
    for step in location:
        inside = list(_alternatives(here))
        tagged = [s for s in inside if _is_section(s) and _kind(s) == step]
        if tagged and len(inside) > 1:
            here = tagged[0]
            continue
        if step == "[key]":  # The name of an entry, not a value below it.
            continue
        section = next((s for s in inside if _is_section(s)), None)
        here = next((t for s in inside if (t := _below(s, step)) is not None), None)
        place.append(str(step))
    return place, section


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types of a union, or the one type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from _alternatives(option)
    else:
        yield annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _kind(section: type[Section]) -> object:
    field = section.model_fields.get("kind")
    return None if field is None else field.default


def _below(annotation: Any, step: str | int) -> Any:
    """The type of what `step` leads to; None where it leads nowhere."""
    if _is_section(annotation):
        field = annotation.model_fields.get(step)
        return None if field is None else field.annotation
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None
