"""From state to observation, and the checks between them: operators, quality control, withheld stations."""

__all__ = ["BiasConfig", "CheckConfig", "OperatorConfig", "QualityConfig", "SuperobConfig", "WithholdConfig"]

from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from stormda.config.fields import ChannelName, Duration, InputPath, Section, Seeds, VariableName

_OPTIONS = {  # of each check, beside `variables` and `platforms`
    "range": {"ranges"},
    "duplicates": {"span", "prefer"},
    "station_height": {"limit"},
    "blacklist": {"stations"},
    "stuck": {"span"},
    "spike": {"span", "steps"},
    "climatology": {"limit"},
    "background": {"limit"},
    "buddy": {"limit", "radius", "count"},
    "isolation": {"radius", "count"},
    "thinning": {"radius", "span"},
}


class OperatorConfig(Section):
    """How the state becomes an observed variable, where it is not the channel of the same name and level."""

    kind: Literal["interpolate", "height", "level", "wind_speed", "reflectivity", "radial_velocity"] = "interpolate"
    channel: ChannelName | None = Field(None, description="the channel that is observed; empty: by name and level")
    lapse_rate: float = Field(0.0065, description="K m-1, for kind height")
    orography: InputPath | None = Field(
        None, description="NetCDF file, the grid's surface height [m]; empty: no correction"
    )
    tolerance: float = Field(0.0, ge=0, description="hPa, for kind level: how far from the channel's level")
    z_r: tuple[PositiveFloat, PositiveFloat] = Field(
        (200.0, 1.6), description="a and b of Z = a R^b, for kind reflectivity"
    )
    factor: float = Field(1.0, gt=0, description="for kind reflectivity: mm h-1 per unit of the channel")
    floor: float = Field(0.0, description="dBZ without rain, for kind reflectivity: `no_echo` of the source")
    reach: float = Field(500.0, ge=0, description="m beyond the lowest and highest level, for kind radial_velocity")
    zero: float | None = Field(
        None, description="values up to this say only that there was no more, such as `no rain`; empty: all are values"
    )


class CheckConfig(Section):
    """One quality check, with the observations it applies to."""

    check: Literal[
        "range",
        "duplicates",
        "station_height",
        "blacklist",
        "stuck",
        "spike",
        "climatology",
        "background",
        "buddy",
        "isolation",
        "thinning",
    ]
    variables: tuple[VariableName, ...] = Field((), description="empty: all")
    platforms: tuple[str, ...] = Field((), description="empty: all")
    limit: float | None = Field(None, gt=0, description="standard deviations; station_height: m")
    stations: tuple[str, ...] = Field((), description="blacklist: station ids")
    ranges: dict[VariableName, tuple[float, float]] = Field({}, description="range: narrower limits")
    steps: dict[VariableName, float] = Field({}, description="spike: the largest step there and back")
    span: Duration | None = Field(None, description="duplicates, stuck, spike, thinning: a time")
    radius: float | None = Field(None, gt=0, description="buddy, isolation, thinning: km")
    count: int | None = Field(None, ge=1, description="buddy: fewest buddies; isolation: fewest other stations")
    prefer: tuple[str, ...] = Field((), description="duplicates: sources, the best first")

    @model_validator(mode="after")
    def _fits(self) -> "CheckConfig":
        for name in ("limit", "stations", "ranges", "steps", "span", "radius", "count", "prefer"):
            if getattr(self, name) and name not in _OPTIONS[self.check]:
                raise ValueError(f"the check '{self.check}' has no `{name}`")
        for variable, (low, high) in self.ranges.items():
            if not low < high:
                raise ValueError(f"the range of {variable} is empty: {low:g} to {high:g}")
        return self


class WithholdConfig(Section):
    """Whole stations kept out for verification: hash(station id, seed) < fraction. One analysis is drawn a seed."""

    fraction: float = Field(0.0, ge=0, lt=1)
    seeds: Seeds = (0,)
    stations: tuple[str, ...] = Field((), description="named stations instead of a fraction")


class SuperobConfig(Section):
    """Dense reports become one a cell of the analysis grid, with their number and spread."""

    variables: tuple[VariableName, ...] = Field((), description="empty: all")
    platforms: tuple[str, ...] = Field((), description="empty: all")
    count: int = Field(2, ge=2, description="fewest reports of a cell; where there are fewer they stay as they are")
    span: Duration = Field(np.timedelta64(3600, "s"), description="reports of a cell further apart in time stay apart")
    shared: float = Field(0.5, ge=0, le=1, description="share of the error variance that reports of a cell have alike")


class BiasConfig(Section):
    """The correction of station biases: a running mean of innovations, and height where that is short."""

    variables: tuple[VariableName, ...] = Field((), description="that are corrected; empty: none")
    path: str = Field("bias.parquet", description="what `stormda bias` learns, below run_dir unless absolute")
    update: bool = Field(False, description="learn on from every analysis; else the correction stays as it is")
    memory: Duration = Field(np.timedelta64(30 * 86400, "s"), description="an innovation of this age counts 1/e")
    max_age: Duration = Field(np.timedelta64(60 * 86400, "s"), description="what is not renewed this long is forgotten")
    hours: Duration | None = Field(np.timedelta64(6 * 3600, "s"), description="parts of the day; empty: one")
    shrink: float = Field(5.0, ge=0, description="innovations that the guess from the height is worth")
    height: bool = Field(True, description="guess from the height of the station where little is known")


class QualityConfig(Section):
    """Checks in the order they run: `static` at ingest, `dynamic` against the background."""

    static: tuple[CheckConfig, ...] = (CheckConfig(check="range"), CheckConfig(check="duplicates"))
    dynamic: tuple[CheckConfig, ...] = (CheckConfig(check="background", limit=5.0),)
    superob: tuple[SuperobConfig, ...] = Field((), description="after the dynamic checks")
    bias: BiasConfig = BiasConfig()
    withhold: WithholdConfig = WithholdConfig()
