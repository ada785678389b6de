"""A centre's own model: its members as a prior, its state as one more piece of knowledge, and how its files are read.

Paths are relative to the folder of the configuration; `*` matches, and `%Y%m%d%H` is filled in from the analysis time.
"""

__all__ = ["GivenPrior", "NwpConfig", "files_of"]

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainSerializer, SerializationInfo

from stormda.config.fields import ChannelName, InputPath, Period, Section, write_path
from stormda.config.sources import GriddedSource

_PREFIX = "ensemble:"


def _is_ensemble(text: str) -> str:
    if not text.startswith(_PREFIX) or text == _PREFIX:
        raise ValueError(f"'{text}' is not written as ensemble:PATH")
    return text


def _write(text: str, info: SerializationInfo) -> str:
    return _PREFIX + write_path(files_of(text), info)


def files_of(given: str) -> str:
    """The path of `ensemble:PATH`."""
    return given.removeprefix(_PREFIX)


GivenPrior = Annotated[str, AfterValidator(_is_ensemble), PlainSerializer(_write, return_type=str)]
"""`ensemble:PATH`."""


class NwpConfig(Section):
    """Fields of a centre's own model, for assimilate.prior and assimilate.background, and how wrong the latter are."""

    variables: dict[ChannelName, str] = Field(
        default={}, description="channel: name in its files; empty: as in archive.sources, else by name and level"
    )
    units: dict[ChannelName, str] = Field(default={}, description="channel: unit, where its files give none")
    filter: dict[str, Any] = Field(default={}, description="GRIB keys to select by, such as {step: 6}")
    past: tuple[InputPath, ...] = Field(
        (), description="files of earlier states like assimilate.background, to learn its error from; `*` allowed"
    )
    truth: GriddedSource | None = Field(None, description="what these are compared with; empty: the archive")
    period: Period | None = Field(None, description="of `past` that is learned from, none of it analysed; empty: all")
    modes: int | None = Field(None, ge=0, description="EOFs of its error; empty: cross-validated")
    error: str = Field("background_error.nc", description="where its error is kept, below run_dir unless absolute")
