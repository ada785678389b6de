"""VOBS: the text files in which the HIRLAM and ACCORD consortia exchange observations for verification.

A file `vobsYYYYMMDDHH` holds one hour; only its name tells the time. Version 4:

    5969  241  4              surface reports, soundings, version
    18                        surface parameters, then one line each: name and accumulation time [h]
     TT 0
     PE6 6
    0001001 70.939 -8.669 9.0 ...     id, latitude, longitude, height [m], one number a parameter
    12                        levels of a sounding
    8                         sounding parameters, then one line each
     01001 70.940 -8.668 9.0          a sounding: its station, then one line a level
      1000.  71. 269.1 ...

-99 means missing. Parameters: TT, TD temperature and dew point [K]; RH [%]; QQ specific humidity [kg kg-1]; PS, PSS
pressure at mean sea level and at the station [hPa]; DD, FF wind [degrees, m s-1]; PEn precipitation of n hours [mm]; PP
pressure of the level [hPa]; FI geopotential height [gpm]. The values have seen no quality control.
"""

__all__ = ["read_vobs"]

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stormda.config import VobsSource
from stormda.errors import InputError
from stormda.observations import Observations
from stormda.sources.files import expand, read_bytes
from stormda.sources.reports import Reports, Values, observations, wind
from stormda.sources.units import convert
from stormda.types import Array
from stormda.variables import VOCABULARY

_MISSING = -99.0
_SURFACE = {"TT": ("t2m", "K"), "TD": ("d2m", "K"), "RH": ("rh2m", "%"), "PS": ("msl", "hPa"), "PSS": ("sp", "hPa")}
_SOUNDING = {"FI": ("z", "gpm"), "TT": ("t", "K"), "RH": ("r", "%"), "QQ": ("q", "kg kg-1")}


@dataclass(frozen=True, eq=False)
class _Part:
    """Numbers of one part: `table` [n, 3 + P] holds latitude, longitude, height and the parameters; NaN is missing."""

    station: Array
    table: Array
    hours: dict[str, float]  # accumulation time of each parameter, in the order of the columns

    def get(self, parameter: str) -> Array:
        return np.asarray(self.table[:, 3 + list(self.hours).index(parameter)])


def read_vobs(config: VobsSource, name: str, resolve: Callable[[str], Path]) -> Observations:
    """All observations of a source's files.

    Args:
        config: files and which part of them.
        name: the key of the source in the configuration.
        resolve: turns a path of the configuration into a path.

    Raises:
        InputMissing: a file that is not there.
        InputError: a file without time in its name, of another version, or truncated.
    """
    parts = []
    for path in expand(config.files, resolve, key=f"observations.sources.{name}.files"):
        time = _time(path)
        surface, sounding = _parse(path)
        if config.part != "sounding" and len(surface.station):
            parts.append(_surface(surface, time, config, name, path))
        if config.part != "surface" and len(sounding.station):
            parts.append(_sounding(sounding, time, config, name, path))
    return Observations.concat(parts)


def _reports(part: _Part, time: np.datetime64, level: Array | None = None) -> Reports:
    latitude, longitude, elevation = part.table[:, :3].T
    return Reports(part.station, np.full(len(part.station), time), latitude, longitude, elevation, level)


def _known(part: _Part, parameters: dict[str, tuple[str, str]]) -> list[Values]:
    """The parameters that the file has, in the vocabulary's units."""
    have = [(p, *parameters[p]) for p in parameters if p in part.hours]
    return [Values(v, convert(part.get(p), unit, VOCABULARY[v].unit)) for p, v, unit in have]


def _surface(part: _Part, time: np.datetime64, config: VobsSource, name: str, path: Path) -> Observations:
    values = _known(part, _SURFACE)
    if {"DD", "FF"} <= part.hours.keys():
        values += wind("u10", "v10", part.get("DD"), part.get("FF"))
    for parameter, hours in part.hours.items():
        if re.fullmatch(r"PE\d*", parameter) and hours > 0:
            values.append(Values("tp", convert(part.get(parameter), "mm", "m"), interval=3600.0 * hours))
    return observations(_reports(part, time), values, config, name, file=path, platform="synop")


def _sounding(part: _Part, time: np.datetime64, config: VobsSource, name: str, path: Path) -> Observations:
    if "PP" not in part.hours:
        raise InputError("the soundings have no pressure PP", file=path)
    values = _known(part, _SOUNDING)
    if {"DD", "FF"} <= part.hours.keys():
        values += wind("u", "v", part.get("DD"), part.get("FF"))
    reports = _reports(part, time, np.round(part.get("PP"), 2))
    return observations(reports, values, config, name, file=path, platform="temp")


# --- text ----------------------------------------------------------------------------------------------------------


def _time(path: Path) -> np.datetime64:
    match = re.search(r"(\d{4})(\d{2})(\d{2})(\d{2})(?!\d)", path.name)
    try:
        if match:
            return np.datetime64(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}", "s")
    except ValueError:
        pass
    raise InputError("the name of a VOBS file must end with its time", file=path, hint="such as vobs2019021712")


def _parse(path: Path) -> tuple[_Part, _Part]:
    """The surface reports, and the soundings with one row a level."""
    try:
        lines = _Lines(read_bytes(path).decode("ascii").splitlines(), path)
    except UnicodeDecodeError as error:
        raise InputError("not a VOBS file: it is not text", file=path) from error
    header = lines.numbers(3)
    if header[2] != 4:
        raise InputError(f"VOBS version {header[2]} is not known, version 4 is", file=path)
    reports, soundings = header[:2]
    hours = lines.parameters(lines.numbers(1)[0])
    station, table = lines.split(lines.take(reports), 4 + len(hours))
    surface = _Part(station, _fill(table), hours)
    if soundings == 0:
        return surface, _Part(np.empty(0, dtype=object), np.empty((0, 3)), {})
    levels = lines.numbers(1)[0]
    hours = lines.parameters(lines.numbers(1)[0])
    return surface, _soundings(lines, soundings, levels, hours)


def _soundings(lines: "_Lines", soundings: int, levels: int, hours: dict[str, float]) -> _Part:
    """Blocks of one station line and `levels` lines, told apart by their place."""
    block = lines.take(soundings * (levels + 1))
    first = np.arange(len(block)) % (levels + 1) == 0
    station, place = lines.split([s for s, is_station in zip(block, first, strict=True) if is_station], 4)
    data = lines.split(
        [f"- {s}" for s, is_station in zip(block, first, strict=True) if not is_station], 1 + len(hours)
    )[1]
    table = np.concatenate([np.repeat(place, levels, axis=0), data], axis=1)
    return _Part(np.repeat(station, levels), _fill(table), hours)


def _fill(table: Array) -> Array:
    """-99 as NaN, but for the longitude: -99 E is Mexico, and who has no latitude is nowhere."""
    missing = table == _MISSING
    missing[:, 1] = False
    return np.where(missing, np.nan, table)


class _Lines:
    """The lines of a file, taken in order; too few of them is a truncated file."""

    def __init__(self, lines: list[str], path: Path) -> None:
        self.lines, self.path, self.at = lines, path, 0

    def take(self, count: int) -> list[str]:
        if self.at + count > len(self.lines):
            what = f"the file is truncated: {self.at + count} lines are announced, {len(self.lines)} are there"
            raise InputError(what, file=self.path, hint="fetch it again")
        self.at += count
        return self.lines[self.at - count : self.at]

    def numbers(self, count: int) -> list[int]:
        words = self.take(1)[0].split()
        if len(words) != count or not all(w.isdigit() for w in words):
            raise InputError(f"line {self.at} of a VOBS file holds {count} counts", file=self.path)
        return [int(w) for w in words]

    def parameters(self, count: int) -> dict[str, float]:
        out: dict[str, float] = {}
        for line in self.take(count):
            words = line.split()
            if len(words) != 2 or not re.fullmatch(r"\d+(\.\d*)?", words[1]) or words[0] in out:
                raise InputError(f"'{line.strip()}' is no parameter with an accumulation time", file=self.path)
            out[words[0]] = float(words[1])
        return out

    def split(self, lines: list[str], columns: int) -> tuple[Array, Array]:
        """Station ids [n] and the other columns as numbers [n, columns - 1]; asterisks of an overflow are missing."""
        words = [line.split() for line in lines]
        if any(len(w) != columns for w in words):
            short = next(line for line, w in zip(lines, words, strict=True) if len(w) != columns)
            raise InputError(f"'{short.strip()[:60]}' has not the {columns} columns that are announced", file=self.path)
        table = np.array(words, dtype=object).reshape(-1, columns)
        try:
            numbers = table[:, 1:].astype(np.float64)
        except ValueError:
            numbers = pd.DataFrame(table[:, 1:]).apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
        return table[:, 0], numbers
