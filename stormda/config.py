"""The configuration: one frozen tree, one section a pipeline stage, every value with a unit and a reason.

Only data live here: `stormda.pipeline.build` turns the names into objects. A file may say `extends: other.yaml`;
`${NAME}` in a text is an environment variable; relative paths start at the folder of the configuration file, so that a
job does the same from a terminal and from cron. An override `key.sub=value` replaces one value, read as YAML.
"""

__all__ = [
    "ArchiveConfig",
    "AssimilateConfig",
    "BufrSource",
    "CheckConfig",
    "Config",
    "ErrorModel",
    "GaussianConfig",
    "GriddedSource",
    "HistoryConfig",
    "LorenzWorld",
    "NetworkConfig",
    "ObservationsConfig",
    "OperatorConfig",
    "Period",
    "QualityConfig",
    "SamplerConfig",
    "SqgWorld",
    "StormConfig",
    "TableSource",
    "TrainConfig",
    "TwinConfig",
    "VerifyConfig",
    "VobsSource",
    "WithholdConfig",
    "dump",
    "load",
    "resolve",
    "schema",
]

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from stormda.errors import ConfigError, InputMissing
from stormda.time import format_time, hours, parse_duration, parse_time
from stormda.variables import VOCABULARY, Channel


def _as_error(read: Any) -> Any:
    def reader(value: Any) -> Any:
        try:
            return read(value)
        except ConfigError as error:  # pydantic collects ValueErrors with their path.
            raise ValueError(str(error)) from error

    return reader


def _write_duration(span: np.timedelta64) -> str:
    n = hours(span)
    return f"{n:g}h" if n == int(n) else f"{n * 60:g}min"


Time = Annotated[
    np.datetime64,
    BeforeValidator(_as_error(parse_time)),
    PlainSerializer(format_time),
    WithJsonSchema({"type": "string", "examples": ["2019-02-17T12Z"]}),
]
Duration = Annotated[
    np.timedelta64,
    BeforeValidator(_as_error(parse_duration)),
    PlainSerializer(_write_duration),
    WithJsonSchema({"type": "string", "examples": ["6h", "90min", "1d"]}),
]


def _seeds(value: Any) -> Any:
    """`0..19` is the list of seeds 0 to 19; a single number is a list of one."""
    if isinstance(value, int):
        return [value]
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value.strip())):
        return list(range(int(match[1]), int(match[2]) + 1))
    return value


Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(_seeds),
    WithJsonSchema({"type": ["string", "integer", "array"], "examples": ["0..19", 0, [0, 1]]}),
]


def _channel_name(name: str) -> str:
    return _as_error(Channel.parse)(name).name  # type: ignore[no-any-return]


ChannelName = Annotated[str, BeforeValidator(_channel_name)]


def _variable_name(name: str) -> str:
    if name not in VOCABULARY:
        near = difflib.get_close_matches(name, VOCABULARY, n=1, cutoff=0.4)
        raise ValueError(f"unknown variable '{name}'" + (f", did you mean '{near[0]}'?" if near else ""))
    return name


VariableName = Annotated[str, BeforeValidator(_variable_name)]


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


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


# --- archive -------------------------------------------------------------------------------------------------------


class GriddedSource(Section):
    """Files of gridded fields: the archive that a prior learns from, or a truth to verify against."""

    kind: Literal["netcdf", "grib", "zarr"] = "netcdf"
    files: tuple[str, ...] = Field(min_length=1, description="paths, `*` allowed")
    variables: dict[ChannelName, str] = Field(
        default={}, description="channel: name in the file; empty: found by name, standard name and level"
    )
    units: dict[ChannelName, str] = Field(default={}, description="channel: unit, where the file gives none")
    filter: dict[str, Any] = Field(default={}, description="GRIB keys to select by, such as typeOfLevel")


class Harmonics(Section):
    """The climatology: a mean with annual and diurnal harmonics, fitted by least squares."""

    annual: int = Field(2, ge=0, le=6)
    diurnal: int = Field(1, ge=0, le=4, description="used where the archive has several hours a day")


class ArchiveConfig(Section):
    """The gridded archive: where it comes from, and which part of it may be learned from."""

    path: str = Field("archive.zarr", description="below run_dir unless absolute")
    sources: dict[str, GriddedSource] = {}
    step: Duration = np.timedelta64(6 * 3600, "s")
    train: Period | None = None
    validation: Period | None = None
    climatology: Harmonics = Harmonics()
    plane: bool = Field(False, description="an idealised plane: equal weights, no poles")
    periodic: tuple[bool, bool] | None = Field(None, description="(latitude, longitude) wrap; empty: found from the grid")


# --- observations --------------------------------------------------------------------------------------------------


class Column(Section):
    """A column of a station table and its unit."""

    column: str
    unit: str | None = Field(None, description="such as degF, hPa, knot; empty: the vocabulary's unit")


class WindColumns(Section):
    """Direction (degrees, where the wind comes from) and speed, turned into components."""

    direction: str
    speed: str
    unit: str = "m s-1"


class StationTable(Section):
    """A second table that tells where stations are."""

    file: str
    station_id: str
    latitude: str
    longitude: str
    elevation: str | None = None


class ErrorModel(Section):
    """Standard deviation of the observation error, in the variable's unit: instrument and representativeness."""

    instrument: float = Field(gt=0)
    representativeness: float = Field(0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"instrument": value} if isinstance(value, (int, float)) else value


class _Source(Section):
    files: tuple[str, ...] = Field(min_length=1, description="paths, `*` allowed")
    platform: str = "synop"
    policy: Literal["required", "warn", "optional"] = "warn"
    min_count: int = Field(1, ge=0, description="fewer values in the window than this count as missing")
    errors: dict[VariableName, ErrorModel] = {}
    levels: tuple[float, ...] = Field((), description="hPa; keep only these pressure levels; empty: all")
    keep: tuple[VariableName, ...] = Field((), description="keep only these variables; empty: all")


class TableSource(_Source):
    """CSV or Parquet, one row a report, with a mapping of columns."""

    kind: Literal["table"] = "table"
    station_id: str
    time: str | tuple[str, ...] = Field(description="one column, or year, month, day, hour[, minute]")
    latitude: str | None = None
    longitude: str | None = None
    elevation: str | None = None
    level: Column | None = Field(None, description="pressure of each row, for soundings and aircraft")
    stations: StationTable | None = None
    variables: dict[VariableName, Column] = {}
    wind: dict[Literal["10m", "level"], WindColumns] = {}
    missing: tuple[float, ...] = Field((-99.0, -999.0, -9999.0), description="numbers that mean: no value")


class VobsSource(_Source):
    """VOBS text files (verification observations): surface and sounding parts."""

    kind: Literal["vobs"] = "vobs"
    part: Literal["surface", "sounding", "both"] = "both"


class BufrSource(_Source):
    """WMO BUFR: radiosondes (TEMP), aircraft (AMDAR), surface stations (SYNOP)."""

    kind: Literal["bufr"] = "bufr"
    report: Literal["temp", "aircraft", "synop"]


ObservationSource = Annotated[TableSource | VobsSource | BufrSource, Field(discriminator="kind")]


class ObservationsConfig(Section):
    """Where observations come from and which window belongs to an analysis: (cycle - before, cycle + after]."""

    path: str = Field("observations", description="the store, below run_dir unless absolute")
    sources: dict[str, ObservationSource] = {}
    before: Duration = np.timedelta64(6 * 3600, "s")
    after: Duration = np.timedelta64(0, "s")
    on_none: Literal["prior", "fail"] = Field("prior", description="no usable observation: publish the prior, or exit 3")


class OperatorConfig(Section):
    """How the state becomes an observed variable, where it is not the channel of the same name and level."""

    kind: Literal["interpolate", "height", "level", "wind_speed"] = "interpolate"
    channel: ChannelName | None = Field(None, description="the channel that is observed; empty: by name and level")
    lapse_rate: float = Field(0.0065, description="K m-1, for kind height")
    orography: str | None = Field(None, description="NetCDF file with the grid's surface height [m]; empty: height 0 is not assumed, no correction")
    tolerance: float = Field(0.0, ge=0, description="hPa, for kind level: how far from the channel's level")


class CheckConfig(Section):
    """One quality check, with the observations it applies to."""

    check: Literal["range", "duplicates", "station_height", "blacklist", "background"]
    variables: tuple[VariableName, ...] = Field((), description="empty: all")
    platforms: tuple[str, ...] = Field((), description="empty: all")
    limit: float | None = Field(None, description="background: standard deviations; station_height: m")
    stations: tuple[str, ...] = Field((), description="blacklist: station ids")
    ranges: dict[VariableName, tuple[float, float]] = Field({}, description="range: narrower limits")


class WithholdConfig(Section):
    """Whole stations kept out for verification: hash(station id, seed) < fraction. One analysis is drawn a seed."""

    fraction: float = Field(0.0, ge=0, lt=1)
    seeds: Seeds = (0,)
    stations: tuple[str, ...] = Field((), description="named stations instead of a fraction")


class QualityConfig(Section):
    """Checks in the order they run: `static` at ingest, `dynamic` against the background."""

    static: tuple[CheckConfig, ...] = (CheckConfig(check="range"), CheckConfig(check="duplicates"))
    dynamic: tuple[CheckConfig, ...] = (CheckConfig(check="background", limit=5.0),)
    withhold: WithholdConfig = WithholdConfig()


# --- prior, posterior, sampler -------------------------------------------------------------------------------------


class HistoryConfig(Section):
    """What the prior knows of the past."""

    source: Literal["analyses", "archive", "none"] = Field(
        "analyses", description="previous analyses of this run; the archive's frames; or a cold start each time"
    )
    first: Literal["none", "archive"] = Field("none", description="where the first cycle has no previous analysis")
    frames: int = Field(1, ge=1, le=8)
    max_age: Duration = np.timedelta64(24 * 3600, "s")
    archive_error: float = Field(0.0, ge=0, description="error of the archive's frames, share of the climatological sd")


class GaussianConfig(Section):
    """The closed-form prior: climatological covariance and a linear inverse model, in EOF space."""

    modes: int = Field(200, ge=1)
    season: Duration | None = Field(None, description="learn from days within this distance in the year; empty: all")
    ridge: float = Field(1e-2, ge=0, description="ridge of the linear inverse model, share of the mean mode variance")


class StormConfig(Section):
    """The STORM network: `weights` to use, and the architecture to train."""

    weights: str = Field("weights.safetensors", description="below run_dir unless absolute, or shipped:NAME")
    patch: int = Field(1, ge=1)
    width: int = Field(96, ge=16)
    blocks: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    latents: int = Field(32, ge=0, description="latent tokens of the global attention; 0: softmax over everything")


class SamplerConfig(Section):
    """How the reverse diffusion is integrated."""

    kind: Literal["dpm2m", "heun"] = "dpm2m"
    steps: int = Field(24, ge=2)
    sigma_min: float | None = Field(None, gt=0, description="empty: 0.2 of the smallest standardised observation error")
    sigma_max: float | None = Field(None, gt=0, description="empty: from the prior")
    rho: float = Field(7.0, gt=0)


class GuidanceConfig(Section):
    """How observations enter: MMPS, solved by tolerance."""

    kind: Literal["mmps"] = "mmps"
    tolerance: float = Field(1e-2, gt=0, lt=1)
    max_iterations: int = Field(20, ge=1)


class AssimilateConfig(Section):
    """The analysis ensemble."""

    method: Literal["storm", "gaussian", "kf", "oi"] = "gaussian"
    ensemble: int = Field(32, ge=2)
    seed: int = Field(0, ge=0)
    step: Duration = np.timedelta64(6 * 3600, "s")
    batch: int = Field(32, ge=1, description="members at once; less memory when smaller")
    limit: float = Field(8.0, gt=0, description="sanity check: the analysis mean within this many climatological sd")


class TrainConfig(Section):
    """Training of the STORM prior."""

    minutes: float | None = Field(None, gt=0, description="stop after this wall time")
    steps: int = Field(4000, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warm_up: int = Field(200, ge=0)
    clip: float = Field(1.0, gt=0)
    average: float = Field(0.999, ge=0, lt=1, description="decay of the exponential moving average of the weights")
    history_dropout: float = Field(0.1, ge=0, le=1)
    history_error: tuple[float, float] = Field((0.01, 1.0), description="log-uniform range, share of the climatological sd")
    seed: int = 0
    checkpoint_every: Duration = np.timedelta64(60, "s")
    validate_every: int = Field(250, ge=1)


class VerifyConfig(Section):
    """What analyses are compared with: gridded truth and withheld observations."""

    truth: GriddedSource | None = Field(None, description="empty: the archive, at the times it has")
    against: tuple[Literal["truth", "withheld", "used"], ...] = ("truth", "withheld")
    report: bool = True


# --- twin experiments ----------------------------------------------------------------------------------------------


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
    """The observing network of a twin experiment: random places, drawn anew each cycle."""

    count: int = Field(40, ge=1, description="grid points a channel")
    error: float = Field(1.0, gt=0, description="standard deviation, in the channel's unit")
    operator: Literal["identity", "arctan"] = "identity"
    redrawn: bool = True


class TwinConfig(Section):
    """A twin experiment: nature, network, cycling, methods."""

    world: Annotated[LorenzWorld | SqgWorld | ArchiveWorld, Field(discriminator="kind")] = ArchiveWorld()
    network: NetworkConfig = NetworkConfig()
    start: Time | None = Field(None, description="archive: time of the first analysis")
    cycles: int = Field(120, ge=2)
    spin_up: int = Field(20, ge=0, description="first analyses that are not scored")
    methods: tuple[Literal["storm", "gaussian", "kf", "oi"], ...] = ("gaussian", "kf", "oi")
    seeds: Seeds = (0,)
    train_steps: int = Field(2000, ge=10, description="lorenz96, sqg: archive steps that are simulated to learn from")


class Config(Section):
    """All of it."""

    name: str = Field("stormda", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    run_dir: str = "runs/stormda"
    channels: tuple[ChannelName, ...] = Field(min_length=1)
    archive: ArchiveConfig = ArchiveConfig()
    observations: ObservationsConfig = ObservationsConfig()
    operators: dict[VariableName, OperatorConfig] = {}
    quality: QualityConfig = QualityConfig()
    history: HistoryConfig = HistoryConfig()
    gaussian: GaussianConfig = GaussianConfig()
    storm: StormConfig = StormConfig()
    sampler: SamplerConfig = SamplerConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    assimilate: AssimilateConfig = AssimilateConfig()
    train: TrainConfig = TrainConfig()
    verify: VerifyConfig = VerifyConfig()
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

    def below_run(self, text: str) -> Path:
        """A product's path: relative to `run`."""
        return resolve(self.run, text)


def resolve(folder: Path, text: str) -> Path:
    """`text` as a path, relative to `folder` unless absolute; `~` is the home folder."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else folder / path


# --- loading -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("the configuration file does not exist", file=path, hint="stormda init NAME writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file cannot be read: {error}", file=path) from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise ConfigError(f"not valid YAML{line}: {getattr(error, 'problem', error)}", file=path) from error
    if not isinstance(tree, dict):
        raise ConfigError("the configuration is empty or not a mapping", file=path, hint="stormda init NAME writes one")
    if parent := tree.pop("extends", None):
        tree = _merge(_read(resolve(path.parent, str(parent))), tree)
    return tree


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in top.items():
        both = isinstance(out.get(key), Mapping) and isinstance(value, Mapping)
        out[key] = _merge(out[key], value) if both else value
    return out


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is not an override", hint="write it as key.sub=value")
    try:
        value = yaml.safe_load(raw)
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
            raise InputMissing(
                f"the environment variable {match[1]} is not set", file=file, key=key, hint=f"export {match[1]}=/path/to/data"
            )
        return value

    return re.sub(r"\$\{(\w+)\}", lookup, node)


def _valid_keys(location: Sequence[str | int]) -> list[str]:
    """The keys that are allowed where validation failed."""
    node: dict[str, Any] = Config.model_json_schema()
    definitions = node["$defs"]
    for part in location:
        while "$ref" in node:
            node = definitions[node["$ref"].split("/")[-1]]
        if "oneOf" in node or "anyOf" in node:
            options = node.get("oneOf") or node.get("anyOf") or []
            named = [o for o in options if definitions.get(o.get("$ref", "").split("/")[-1], {}).get("properties", {}).get("kind", {}).get("const") == part]
            node = (named or options)[0]
            if named:
                continue
            while "$ref" in node:
                node = definitions[node["$ref"].split("/")[-1]]
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items") or {}
        if not isinstance(node, dict):
            return []
    while "$ref" in node:
        node = definitions[node["$ref"].split("/")[-1]]
    if "oneOf" in node:
        node = definitions[node["oneOf"][0]["$ref"].split("/")[-1]]
    return list(node.get("properties", {}))


def _explain(error: ValidationError, file: Path | None) -> ConfigError:
    """The first problem as one line: the key, what is wrong and the nearest valid key."""
    first = error.errors()[0]
    location = list(first["loc"])
    kinds = {"table", "vobs", "bufr", "lorenz96", "sqg", "archive"}
    shown = [str(p) for i, p in enumerate(location) if not (p in kinds and i > 0 and location[i - 1] in ("world",) or (i > 2 and location[i - 2] == "sources" and p in kinds))]
    key = ".".join(shown)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        choices = _valid_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), choices, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else (f"valid: {', '.join(choices)}" if choices else None)
        return ConfigError(f"unknown key '{location[-1]}'{more}", file=file, key=key, hint=hint)
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first.get("input"), dict) or first["type"] == "missing" else f" (got {first.get('input')!r})"
    return ConfigError(f"{message}{given}{more}", file=file, key=key, hint="stormda config schema lists every key")


def load(path: str | os.PathLike[str] | None, overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None) -> Config:
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
    for text in overrides:
        _override(tree, text)
    tree = _expand(tree, file)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, file) from None
    config._folder = (file.parent if file is not None else Path(".")).resolve()
    return config


def dump(config: Config) -> str:
    """The whole configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration, for editors."""
    return Config.model_json_schema()
