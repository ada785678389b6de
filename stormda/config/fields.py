"""Kinds of values that the configuration is made of: times, spans, seeds, names of variables; and what a section is.

Each reads what people write (`6h`, `2019-02-17T12Z`, `0..19`) and is written back the same way. A value that cannot be
read says what it is not and how to write it; `explain` finds that hint in the error's context.
"""

__all__ = [
    "ChannelName",
    "Duration",
    "InputPath",
    "Period",
    "ScoredName",
    "Section",
    "Seeds",
    "Time",
    "VariableName",
    "is_url",
    "write_duration",
    "write_path",
]

import difflib
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stormda.errors import ConfigError
from stormda.time import format_time, parse_duration, parse_time
from stormda.variables import VOCABULARY, Channel

_Value = TypeVar("_Value")


def _read_by(read: Callable[[Any], _Value]) -> Callable[[Any], _Value]:
    """`read` for pydantic, which collects errors with their place in the tree."""

    def reader(value: Any) -> _Value:
        try:
            return read(value)
        except ConfigError as error:
            context = {"what": error.what, "hint": error.hint or ""}
            raise PydanticCustomError("stormda", "{what}", context) from error

    return reader


def write_duration(span: np.timedelta64) -> str:
    """A span as people write it: `6h`, `90min`; the inverse of `parse_duration`."""
    seconds = int(span / np.timedelta64(1, "s"))
    unit, length = next((u, n) for u, n in (("h", 3600), ("min", 60), ("s", 1)) if seconds % n == 0)
    return f"{seconds // length}{unit}"


Time = Annotated[
    np.datetime64,
    BeforeValidator(_read_by(parse_time)),
    PlainSerializer(format_time),
    WithJsonSchema({"type": "string", "examples": ["2019-02-17T12Z"]}),
]
Duration = Annotated[
    np.timedelta64,
    BeforeValidator(_read_by(parse_duration)),
    PlainSerializer(write_duration),
    WithJsonSchema({"type": "string", "examples": ["6h", "90min", "1d"]}),
]


def is_url(text: str) -> bool:
    """Whether a file lies elsewhere: `https://...`, `s3://...`."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def write_path(text: str, info: SerializationInfo) -> str:
    """A path as it is, or what the serialisation's context, a function, makes of it."""
    return str(info.context(text)) if callable(info.context) and not is_url(text) else text


InputPath = Annotated[str, PlainSerializer(write_path, return_type=str)]
"""A file to read: below the folder of the configuration unless absolute; a URL where it says so."""


def _seeds(value: Any) -> Any:
    """`0..19` is the list of seeds 0 to 19; a single number is a list of one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value.strip())):
        return list(range(int(match[1]), int(match[2]) + 1))
    return value


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    Field(min_length=1),
    BeforeValidator(_seeds),
    WithJsonSchema({"type": ["string", "integer", "array"], "examples": ["0..19", 0, [0, 1]]}),
]


def _channel_name(name: Any) -> str:
    return Channel.parse(str(name)).name


def _variable_name(name: Any) -> str:
    if name not in VOCABULARY:
        near = difflib.get_close_matches(str(name), VOCABULARY, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"one of {', '.join(VOCABULARY)}"
        raise ConfigError(f"unknown variable '{name}'", hint=hint)
    return str(name)


def _scored_name(name: Any) -> str:
    return str(name) if name in VOCABULARY else _channel_name(name)


ChannelName = Annotated[str, BeforeValidator(_read_by(_channel_name))]
VariableName = Annotated[str, BeforeValidator(_read_by(_variable_name))]
ScoredName = Annotated[str, BeforeValidator(_read_by(_scored_name))]
"""`t850`, or `t` for every level of it."""


class Section(BaseModel):
    """A part of the configuration: frozen; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


class Period(Section):
    """Times from `start` to `end`, both included, without the days of `exclude`."""

    start: Time
    end: Time
    exclude: tuple[Time, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> "Period":
        if self.end < self.start:
            raise ValueError("the period ends before it starts")
        return self
