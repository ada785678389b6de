"""The root of the configuration, and what its paths mean."""

__all__ = ["Config", "resolve"]

import os
from pathlib import Path

from pydantic import Field, field_validator

from stormda.config.compute import ComputeConfig
from stormda.config.cycle import CycleConfig
from stormda.config.fields import ChannelName, Section, VariableName
from stormda.config.ingest import IngestConfig
from stormda.config.methods import (
    AssimilateConfig,
    EnsfConfig,
    ForecastConfig,
    GaussianConfig,
    GuidanceConfig,
    HistoryConfig,
    LetkfConfig,
    SamplerConfig,
    StormConfig,
    TrainConfig,
    WindowConfig,
)
from stormda.config.nwp import NwpConfig
from stormda.config.parallel import ParallelConfig
from stormda.config.quality import OperatorConfig, QualityConfig
from stormda.config.remote import RemoteConfig
from stormda.config.sources import ArchiveConfig, ObservationsConfig
from stormda.config.twin import TwinConfig
from stormda.config.verify import VerifyConfig
from stormda.errors import ConfigError


class Config(Section):
    """All of it."""

    name: str = Field("stormda", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    run_dir: str = "runs/stormda"
    channels: tuple[ChannelName, ...] = Field(min_length=1)
    archive: ArchiveConfig = ArchiveConfig()
    observations: ObservationsConfig = ObservationsConfig()
    remote: RemoteConfig = RemoteConfig()
    ingest: IngestConfig = IngestConfig()
    operators: dict[VariableName, OperatorConfig] = {}
    quality: QualityConfig = QualityConfig()
    history: HistoryConfig = HistoryConfig()
    gaussian: GaussianConfig = GaussianConfig()
    storm: StormConfig = StormConfig()
    sampler: SamplerConfig = SamplerConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    letkf: LetkfConfig = LetkfConfig()
    ensf: EnsfConfig = EnsfConfig()
    assimilate: AssimilateConfig = AssimilateConfig()
    window: WindowConfig = WindowConfig()
    nwp: NwpConfig = NwpConfig()
    forecast: ForecastConfig = ForecastConfig()
    train: TrainConfig = TrainConfig()
    verify: VerifyConfig = VerifyConfig()
    cycle: CycleConfig = CycleConfig()
    compute: ComputeConfig = ComputeConfig()
    parallel: ParallelConfig = ParallelConfig()
    twin: TwinConfig = TwinConfig()

    _folder: Path = Path(".")

    @field_validator("channels")
    @classmethod
    def _unique(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a channel is named twice")
        return value

    @property
    def run(self) -> Path:
        """The folder where everything of this run is stored."""
        return resolve(self._folder, self.run_dir)

    def path(self, text: str) -> Path:
        """An input path: relative to the folder of the configuration file."""
        return resolve(self._folder, text)

    def beside_run(self, text: str) -> Path:
        """A file to read that another run may have written: relative to `run`, also `../other/weights.safetensors`."""
        return resolve(self.run, text)

    def below_run(self, text: str) -> Path:
        """A product's path: below `run`, unless it is written as an absolute one.

        Raises:
            ConfigError: a relative path that leaves the run folder.
        """
        path = resolve(self.run, text)
        if not Path(text).expanduser().is_absolute() and not path.is_relative_to(self.run):
            hint = "a path within it, or an absolute one where that is meant"
            raise ConfigError(f"'{text}' leaves the run folder", file=self.run, hint=hint)
        return path


def resolve(folder: Path, text: str) -> Path:
    """`text` as a path, relative to `folder` unless absolute; `~` is the home folder."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else Path(os.path.normpath(folder / path))
