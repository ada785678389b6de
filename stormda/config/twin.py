"""Twin experiments: nature, network, cycling, methods."""

__all__ = [
    "ArchiveWorld",
    "LorenzWorld",
    "NetworkConfig",
    "SqgWorld",
    "TuneConfig",
    "TwinConfig",
    "TwinForecastConfig",
    "WrongModelConfig",
]

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stormda.config.fields import Section, Seeds, Time
from stormda.config.methods import Method


class LorenzWorld(Section):
    """Lorenz-96 as nature."""

    kind: Literal["lorenz96"] = "lorenz96"
    dimension: int = Field(40, ge=4)
    forcing: float = 8.0


class SqgWorld(Section):
    """Surface quasi-geostrophic turbulence as nature."""

    kind: Literal["sqg"] = "sqg"
    points: int = Field(64, ge=16)


class ArchiveWorld(Section):
    """The archive as nature."""

    kind: Literal["archive"] = "archive"


class NetworkConfig(Section):
    """The observing network of a twin experiment: random grid points, or the places of real observations."""

    count: int = Field(40, ge=1, description="grid points a channel")
    error: float = Field(1.0, gt=0, description="standard deviation, in the channel's unit")
    operator: Literal["identity", "arctan", "wind_speed", "block_mean"] = Field(
        "identity", description="wind_speed: of u and v, and nothing else; block_mean: over squares of `block` points"
    )
    block: int = Field(4, ge=1, description="block_mean: points along a side")
    redrawn: bool = Field(True, description="new places each cycle")
    stations: Time | None = Field(
        None, description="instead of random points: places, variables and errors of this cycle's observations"
    )


class TuneConfig(Section):
    """A period that is not scored, to search the settings of a baseline on."""

    start: Time | None = Field(None, description="archive: its first analysis; empty: the spin-up's cycles")
    cycles: int = Field(60, ge=4)
    spin_up: int = Field(20, ge=0, description="first analyses that do not count")
    seed: int = Field(1000, ge=0, description="of the truth of simulated worlds and of the observations")

    @model_validator(mode="after")
    def _counted(self) -> "TuneConfig":
        if self.spin_up >= self.cycles:
            raise ValueError(f"all {self.cycles} cycles are spin-up: nothing is left to tune on")
        return self


class TwinForecastConfig(Section):
    """Forecasts from the analyses of every method in one model."""

    hours: float = Field(0, ge=0, description="how far: the last lead, such as 72; 0: none")
    every: int = Field(4, ge=1, description="cycles from one start to the next")


class WrongModelConfig(Section):
    """What a nature run does wrong where it is the model of an ensemble filter; as it is by default, nothing."""

    relaxation: float = Field(1.0, gt=0, description="sqg: factor of the time of thermal relaxation")
    friction: float = Field(0.0, ge=0, description="sqg: Ekman damping that nature lacks, m s-1; 100: in 12 days")
    forcing: float = Field(0.0, description="lorenz96: that nature lacks")
    jump: float = Field(0.0, ge=0, description="sd of a smooth field that all members jump by at once")
    chance: float = Field(0.1, ge=0, le=1, description="of a jump in a cycle")


class TwinConfig(Section):
    """A twin experiment: nature, network, cycling, methods."""

    world: Annotated[LorenzWorld | SqgWorld | ArchiveWorld, Field(discriminator="kind")] = ArchiveWorld()
    network: NetworkConfig = NetworkConfig()
    start: Time | None = Field(None, description="archive: time of the first analysis")
    cycles: int = Field(120, ge=2)
    spin_up: int = Field(20, ge=0, description="first analyses that are not scored")
    model: WrongModelConfig = WrongModelConfig()
    methods: tuple[Method, ...] = Field(("gaussian", "kf", "oi"), min_length=1)
    rim: bool = Field(False, description="storm: tell the network a coarse field of the truth at its rim (storm.rim)")
    seeds: Seeds = (0,)
    tune: TuneConfig = TuneConfig()
    forecast: TwinForecastConfig = TwinForecastConfig()
    train_steps: int = Field(2000, ge=10, description="lorenz96, sqg: archive steps that are simulated to learn from")

    @model_validator(mode="after")
    def _scored(self) -> "TwinConfig":
        if self.spin_up >= self.cycles:
            raise ValueError(
                f"all {self.cycles} cycles are spin-up, nothing is left to score: lower twin.spin_up ({self.spin_up})"
            )
        return self
