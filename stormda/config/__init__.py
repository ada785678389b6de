"""The configuration: one frozen tree, one section a pipeline stage, every value with a unit and a reason.

Only data live here: `stormda.pipeline.build` turns the names into objects. A file may say `extends: other.yaml`;
`${NAME}` in a text is an environment variable; relative paths start at the folder of the configuration file, so that a
job does the same from a terminal and from cron. An override `key.sub=value` replaces one value, read as YAML.

    fields     kinds of values, and what a section is
    sources    archive and observations          quality    operators, checks, withheld stations
    remote     files at URLs                     ingest     who reads fields
    methods    history, priors, sampler, ...     twin       twin experiments
    cycle      cycles by the clock               nwp        a centre's own model
    verify     against what, events, regions
    tree       `Config`, the root                reading    `load`, `dump`, `schema`
                                                 explain    what is wrong, in one line
"""

__all__ = [
    "ArchiveConfig",
    "ArchiveWorld",
    "AssimilateConfig",
    "BiasConfig",
    "Box",
    "BufrSource",
    "CheckConfig",
    "Column",
    "Config",
    "CycleConfig",
    "Dates",
    "EnsfConfig",
    "ErrorModel",
    "ForecastConfig",
    "GaussianConfig",
    "GhcnhSource",
    "GriddedSource",
    "GuidanceConfig",
    "Harmonics",
    "HistoryConfig",
    "IngestConfig",
    "KeepConfig",
    "IodaSource",
    "IsdSource",
    "LetkfConfig",
    "LorenzWorld",
    "MadisSource",
    "MetarColumns",
    "MetarSource",
    "NetworkConfig",
    "NwpConfig",
    "ObservationsConfig",
    "OperatorConfig",
    "Period",
    "QualityConfig",
    "RadarChecks",
    "RadarSource",
    "ReaderLimits",
    "RegionConfig",
    "RemoteConfig",
    "SamplerConfig",
    "Section",
    "SlurmConfig",
    "SourceConfig",
    "SqgWorld",
    "StationTable",
    "StormConfig",
    "SuperobConfig",
    "TableSource",
    "TrainConfig",
    "TuneConfig",
    "TwinConfig",
    "TwinForecastConfig",
    "VerifyConfig",
    "VobsSource",
    "WindColumns",
    "WindowConfig",
    "WithholdConfig",
    "dump",
    "files_of",
    "load",
    "resolve",
    "schema",
]

from stormda.config.cycle import CycleConfig, KeepConfig, SlurmConfig
from stormda.config.fields import Period, Section
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
from stormda.config.nwp import NwpConfig, files_of
from stormda.config.quality import (
    BiasConfig,
    CheckConfig,
    OperatorConfig,
    QualityConfig,
    SuperobConfig,
    WithholdConfig,
)
from stormda.config.reading import dump, load, schema
from stormda.config.remote import Box, Dates, RemoteConfig
from stormda.config.sources import (
    ArchiveConfig,
    BufrSource,
    Column,
    ErrorModel,
    GhcnhSource,
    GriddedSource,
    Harmonics,
    IodaSource,
    IsdSource,
    MadisSource,
    MetarColumns,
    MetarSource,
    ObservationsConfig,
    RadarChecks,
    RadarSource,
    ReaderLimits,
    SourceConfig,
    StationTable,
    TableSource,
    VobsSource,
    WindColumns,
)
from stormda.config.tree import Config, resolve
from stormda.config.twin import (
    ArchiveWorld,
    LorenzWorld,
    NetworkConfig,
    SqgWorld,
    TuneConfig,
    TwinConfig,
    TwinForecastConfig,
)
from stormda.config.verify import RegionConfig, VerifyConfig
