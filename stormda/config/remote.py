"""What lies elsewhere: files at URLs, which of them, and how they are fetched."""

__all__ = ["Box", "Dates", "RemoteConfig"]

from typing import Annotated, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from stormda.config.fields import Duration, Section, Time

_Latitude: TypeAlias = Annotated[float, Field(ge=-90, le=90)]
_Longitude: TypeAlias = Annotated[float, Field(ge=-360, le=360)]


class Box(Section):
    """A part of the globe."""

    latitude: tuple[_Latitude, _Latitude] = Field((-90.0, 90.0), description="south, north")
    longitude: tuple[_Longitude, _Longitude] | None = Field(
        None, description="west, east; may cross the date line; empty: all around"
    )

    @model_validator(mode="after")
    def _not_empty(self) -> "Box":
        if not self.latitude[0] < self.latitude[1]:
            raise ValueError("latitude is south, north: the first must be the smaller")
        if self.longitude is not None and self.longitude[0] == self.longitude[1]:
            raise ValueError("longitude is west, east: they are the same")
        return self


class Dates(Section):
    """Times that are wanted: of a period, or of the recent past."""

    start: Time | None = None
    end: Time | None = Field(None, description="included")
    recent: Duration | None = Field(None, description="instead of start and end: so far back from the present")
    every: Duration = np.timedelta64(3600, "s")

    @model_validator(mode="after")
    def _told(self) -> "Dates":
        if (self.recent is None) == (self.start is None or self.end is None):
            raise ValueError("dates are either start and end, or recent")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError("the dates end before they start")
        if self.every <= np.timedelta64(0, "s"):
            raise ValueError("dates.every is no span of time")
        return self


class RemoteConfig(Section):
    """How files at URLs are fetched and kept."""

    cache: str = Field("cache", description="where they are kept, below run_dir unless absolute")
    cache_gib: float = Field(50.0, gt=0, description="GiB; beyond it what was longest not used is removed")
    file_gib: float = Field(20.0, gt=0, description="GiB; a file that is larger is refused")
    attempts: int = Field(5, ge=1, le=100, description="without progress, before giving up")
    backoff: float = Field(1.0, ge=0, description="s; before the second attempt, twice as long before each further one")
    timeout: float = Field(
        300.0, gt=0, description="s; of one request: a download that takes longer goes on with another"
    )
    offline: bool = Field(False, description="ask no server: only what is in the cache is there")
