"""How analyses and forecasts are scored: against what, which events, where."""

__all__ = ["RegionConfig", "VerifyConfig"]

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from stormda.config.fields import Duration, InputPath, ScoredName, Section
from stormda.config.remote import Box
from stormda.config.sources import GriddedSource, RadarSource

_RegionName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class RegionConfig(Box):
    """A box, a mask, or what of a box the mask leaves."""

    mask: InputPath | None = Field(None, description="NetCDF file with one field, such as the share of land")
    above: float = Field(0.5, description="a point counts where the mask is this or more")


class VerifyConfig(Section):
    """What analyses and forecasts are compared with, and how their scores are divided."""

    truth: GriddedSource | None = Field(None, description="empty: the archive, at the times it has")
    radar: RadarSource | None = Field(
        None,
        description="composites, volumes or gridded rain that fields are scored against, as means of grid boxes; "
        "`%Y%m%d%H%M` in files is the analysis time",
    )
    against: tuple[Literal["truth", "withheld", "used"], ...] = ("truth", "withheld")
    variables: tuple[ScoredName, ...] = Field(
        (), description="channels and observed variables, at a level (t850) or at all (t); empty: all"
    )
    thresholds: dict[ScoredName, tuple[float, ...]] = Field(
        default={
            "t2m": (273.15, 303.15),
            "air": (273.15, 303.15),
            "t850": (273.15,),
            "msl": (100000.0, 102000.0),
            "ws10": (10.8, 17.2),
            "rr": (0.1, 1.0, 5.0),
            "tp": (0.0001, 0.001, 0.005),
            "dbzc": (20.0, 35.0, 45.0),
            "dbz": (20.0, 35.0, 45.0),
        },
        description="events `this or more`, in the unit of the variable",
    )
    scales: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 3, 5), description="width of the neighbourhoods of the fractions skill score, grid points, odd"
    )
    regions: dict[_RegionName, RegionConfig] = Field(default={}, description="scored besides the whole domain, `all`")
    leads: tuple[Duration, ...] = Field((), description="of forecasts; empty: all that are there")
    reuse: bool = Field(True, description="take the statistics of a cycle as they are where its files have not changed")
    report: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "VerifyConfig":
        if "all" in self.regions:
            raise ValueError("the region 'all' is the whole domain: choose another name")
        if even := [n for n in self.scales if n % 2 == 0]:
            raise ValueError(f"a neighbourhood has a middle: its width {even[0]} must be odd")
        return self
