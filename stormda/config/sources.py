"""Where data come from: gridded files for the archive, tables and reports for the observations."""

__all__ = [
    "ArchiveConfig",
    "BufrSource",
    "Column",
    "ErrorModel",
    "GhcnhSource",
    "GriddedSource",
    "Harmonics",
    "IodaSource",
    "IsdSource",
    "MadisSource",
    "MetarColumns",
    "MetarSource",
    "ObservationsConfig",
    "RadarChecks",
    "RadarSource",
    "ReaderLimits",
    "SourceConfig",
    "StationTable",
    "TableSource",
    "VobsSource",
    "WindColumns",
]

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stormda.config.fields import ChannelName, Duration, InputPath, Period, Section, Time, VariableName
from stormda.config.remote import Box, Dates

_SIX_HOURS = np.timedelta64(6 * 3600, "s")


class ReaderLimits(Section):
    """What reading one file may take, for formats whose libraries run in a process of their own."""

    seconds: float = Field(600.0, gt=0, description="s; reading that takes longer is stopped")
    gib: float = Field(4.0, gt=0, description="GiB; reading that needs more memory fails")


class GriddedSource(Section):
    """Files of gridded fields: the archive that a prior learns from, or a truth to verify against."""

    kind: Literal["netcdf", "grib", "zarr"] = "netcdf"
    files: tuple[InputPath, ...] = Field(
        min_length=1, description="paths, `*` allowed, or URLs (http, https, s3, gs, az); `%Y%m%d%H` with `dates`"
    )
    dates: Dates | None = Field(None, description="only these times; they also fill `%Y%m%d%H` in files; empty: all")
    region: Box | None = Field(None, description="only this part of the fields; empty: all")
    lazy: bool = Field(
        False, description="NetCDF-4 at URLs: fetch only the parts that the times and the region need, not whole files"
    )
    variables: dict[ChannelName, str] = Field(
        default={}, description="channel: name in the file; empty: found by name, standard name and level"
    )
    units: dict[ChannelName, str] = Field(default={}, description="channel: unit, where the file gives none")
    filter: dict[str, Any] = Field(default={}, description="GRIB keys to select by, such as typeOfLevel")
    limits: ReaderLimits = Field(ReaderLimits(), description="of NetCDF and GRIB: each time that a file is asked")


class Harmonics(Section):
    """The climatology: a mean with annual and diurnal harmonics, fitted by least squares."""

    annual: int = Field(2, ge=0, le=6)
    diurnal: int = Field(1, ge=0, le=4, description="used where the archive has several hours a day")


class ArchiveConfig(Section):
    """The gridded archive: where it comes from, and which part of it may be learned from."""

    path: str = Field("archive.zarr", description="below run_dir unless absolute")
    sources: dict[str, GriddedSource] = {}
    step: Duration = _SIX_HOURS
    train: Period | None = None
    validation: Period | None = None
    climatology: Harmonics = Harmonics()
    plane: bool = Field(False, description="an idealised plane: equal weights, no poles")
    periodic: tuple[bool, bool] | None = Field(None, description="(latitude, longitude) wrap; empty: as the grid says")


class Column(Section):
    """A column of a station table and its unit."""

    column: str
    unit: str | None = Field(None, description="such as degF, hPa, knot; empty: the vocabulary's unit")
    flag: str | None = Field(None, description="the column with the provider's quality flag of this value")
    interval: Duration | None = Field(None, description="time over which an amount fell, or a mean was taken")


class WindColumns(Section):
    """Direction (degrees, where the wind comes from) and speed, turned into components."""

    direction: str
    speed: str
    unit: str = "m s-1"
    flags: tuple[str, ...] = Field((), description="columns with the provider's quality flags of direction and speed")


class StationTable(Section):
    """A second table that tells where stations are."""

    file: InputPath
    station_id: str
    latitude: str
    longitude: str
    elevation: str | None = None
    elevation_unit: str = "m"


class ErrorModel(Section):
    """Standard deviation of the observation error, in the variable's unit: instrument and representativeness."""

    instrument: float = Field(gt=0)
    representativeness: float = Field(0.0, ge=0)
    correlation: float = Field(
        0.0, ge=0, description="between levels of one report: distance in ln p over which it falls to 1/e; 0: none"
    )

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"instrument": value} if isinstance(value, (int, float)) else value


class SourceConfig(Section):
    """What every source of observations has."""

    files: tuple[InputPath, ...] = Field(
        min_length=1, description="paths, `*` allowed, or URLs; `%Y%m%d%H` with `dates`, `{site}` with `sites`"
    )
    dates: Dates | None = Field(None, description="the times that fill `%Y%m%d%H` in files")
    sites: tuple[str, ...] = Field((), description="what fills `{site}` in files, such as the names of radars")
    platform: str = "synop"
    policy: Literal["required", "warn", "optional"] = "warn"
    min_count: int = Field(1, ge=0, description="fewer values in the window than this count as missing")
    wait: Duration = Field(
        np.timedelta64(0, "s"), description="how long stormda cycle waits for them after the cutoff, unless optional"
    )
    errors: dict[VariableName, ErrorModel] = {}
    levels: tuple[float, ...] = Field((), description="hPa; keep only these pressure levels; empty: all")
    keep: tuple[VariableName, ...] = Field((), description="keep only these variables; empty: all")


class _NativeSource(SourceConfig):
    limits: ReaderLimits = ReaderLimits()


class TableSource(SourceConfig):
    """CSV or Parquet, one row a report, with a mapping of columns."""

    kind: Literal["table"] = "table"
    station_id: str
    time: str | tuple[str, ...] = Field(description="one column, or year, month, day, hour[, minute]")
    latitude: str | None = None
    longitude: str | None = None
    elevation: str | None = None
    elevation_unit: str = "m"
    level: Column | None = Field(None, description="pressure of each row, for soundings and aircraft")
    stations: StationTable | None = None
    variables: dict[VariableName, Column] = {}
    wind: dict[Literal["10m", "level"], WindColumns] = {}
    altimeter: Column | None = Field(
        None, description="altimeter setting (QNH): station pressure where elevation is known"
    )
    reject: tuple[str | int, ...] = Field((), description="quality flags that mean: wrong")
    missing: tuple[float, ...] = Field((-99.0, -999.0, -9999.0), description="numbers that mean: no value")


class VobsSource(SourceConfig):
    """VOBS text files (verification observations): surface and sounding parts."""

    kind: Literal["vobs"] = "vobs"
    part: Literal["surface", "sounding", "both"] = "both"


class BufrSource(_NativeSource):
    """WMO BUFR: radiosondes (TEMP), aircraft (AMDAR), surface stations (SYNOP)."""

    kind: Literal["bufr"] = "bufr"
    report: Literal["temp", "aircraft", "synop"]
    broken: Literal["fail", "skip"] = Field(
        "fail", description="what a broken message means: the file is refused, or it alone is left out, with a warning"
    )


class MetarColumns(Section):
    """Where a CSV or Parquet table has METAR texts and what it says beside them."""

    text: str = Field(description="the report as it was sent")
    time: str | None = Field(None, description="when it was made or received, to a few days: it tells month and year")
    latitude: str | None = None
    longitude: str | None = None
    elevation: str | None = Field(None, description="m")


class MetarSource(_NativeSource):
    """METAR and SPECI reports: plain lines, NOAA cycle files, GTS bulletins, or a column of a table."""

    kind: Literal["metar"] = "metar"
    reference: Literal["received"] | Time | None = Field(
        None,
        description="a time within two weeks of the reports, which tell no month; received: of the file's last change; "
        "empty: as the file, its name or its table says",
    )
    columns: MetarColumns | None = Field(None, description="for tables; empty: the files are text")
    stations: StationTable | None = Field(None, description="empty: the list of the National Weather Service of 2005")


class MadisSource(_NativeSource):
    """MADIS NetCDF files of NOAA, with their quality control; also packed with gzip."""

    kind: Literal["madis"] = "madis"
    report: Literal["metar", "marine", "acars", "rawin"]


class IodaSource(_NativeSource):
    """IODA v3 NetCDF files (JCSDA): groups `MetaData`, `ObsValue`, `ObsError`, `PreQC`."""

    kind: Literal["ioda"] = "ioda"
    level: Literal["surface", "pressure"] = Field(
        description="surface: 2-m and 10-m values; pressure: each at MetaData/pressure"
    )
    names: dict[VariableName, str] = Field({}, description="variable: its name in the file; empty: the convention's")
    accept: int = Field(3, description="greatest PreQC that is used; NCEP's quality marks: 0..3 good, 4 and more not")


class IsdSource(SourceConfig):
    """NOAA's Integrated Surface Database as CSV (`global-hourly`), with its quality codes."""

    kind: Literal["isd"] = "isd"


class GhcnhSource(SourceConfig):
    """NOAA's GHCN-hourly, the successor of ISD: `.psv` (columns separated by |), CSV or Parquet, with quality codes."""

    kind: Literal["ghcnh"] = "ghcnh"


class RadarChecks(Section):
    """What radar echoes are held against when they are read; what fails gets a code and stays."""

    nearest: float = Field(2000.0, ge=0, description="m; gates nearer to the radar are flagged")
    highest: float = Field(12000.0, gt=0, description="m above mean sea level; beams higher than that are flagged")
    speckle: int = Field(2, ge=0, le=8, description="fewest of the eight neighbours that must have an echo; 0: off")
    correlation: float = Field(
        0.8, ge=0, le=1, description="echoes whose co-polar correlation is lower are not rain, where it is measured"
    )
    texture: float = Field(
        60.0, ge=0, description="dB2; mean squared step along the ray beyond which an echo that stands still is clutter"
    )
    still: float = Field(1.0, ge=0, description="m s-1; an echo that moves slower stands still, where that is measured")
    unfold: bool = Field(
        True, description="add to velocities the multiples of twice the Nyquist velocity that make them continuous"
    )
    dealiased: bool = Field(False, description="the velocities of the files are unfolded: no check for folding")
    quality: float = Field(0.0, ge=0, le=1, description="least quality index of a composite's pixel, where it has one")


class RadarSource(_NativeSource):
    """Radar volumes (ODIM_H5, NEXRAD Level II, CfRadial), composites (ODIM, KNMI, MRMS) and gridded rain (NetCDF)."""

    kind: Literal["radar"] = "radar"
    cell: float | None = Field(
        0.1, gt=0, le=10, description="degrees; gates of a cell are averaged to one value; empty: every gate is a value"
    )
    names: dict[VariableName, str] = Field({}, description="variable: its name in the file, where that is unusual")
    no_echo: float = Field(
        0.0, ge=-30, le=30, description="dBZ; what a gate without an echo counts as, and less than it"
    )
    unclear: Literal["missing", "no_echo"] = Field(
        "missing", description="what a gate is where the file has one mark for `no echo` and for `not measured`"
    )
    checks: RadarChecks = RadarChecks()


ObservationSource = Annotated[
    TableSource
    | VobsSource
    | BufrSource
    | MetarSource
    | MadisSource
    | IodaSource
    | IsdSource
    | GhcnhSource
    | RadarSource,
    Field(discriminator="kind"),
]


class ObservationsConfig(Section):
    """Where observations come from and which window belongs to an analysis: (cycle - before, cycle + after]."""

    path: str = Field("observations", description="the store, below run_dir unless absolute")
    sources: dict[str, ObservationSource] = {}
    before: Duration = _SIX_HOURS
    after: Duration = np.timedelta64(0, "s")
    on_none: Literal["prior", "fail"] = Field("prior", description="no observation: publish the prior, or exit 3")

    @model_validator(mode="after")
    def _not_empty(self) -> "ObservationsConfig":
        if self.before + self.after <= np.timedelta64(0, "s"):
            raise ValueError("the window (cycle - before, cycle + after] is empty")
        return self
