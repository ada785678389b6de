"""What an ensemble, a feedback file or any IODA file holds, for people."""

__all__ = ["by_code", "describe", "ensemble"]

from pathlib import Path

import numpy as np

from stormda.errors import InputError
from stormda.observations import QC, Observations
from stormda.pipeline.facts import Facts
from stormda.sources.dataset import has, numbers
from stormda.store import analysis, feedback
from stormda.store.cf import read_grid, read_time
from stormda.store.netcdf import open_netcdf
from stormda.time import format_time
from stormda.types import Array
from stormda.variables import Channel

_HINT = "stormda inspect knows what stormda writes"


def describe(path: Path) -> tuple[str, Facts]:
    """The kind of a NetCDF file and its facts; raises InputError if it is truncated or none of ours."""
    with open_netcdf(path, hint=_HINT) as file:
        layout = getattr(file, "stormda_layout", None)
        foreign = layout is None and {"MetaData", "ObsValue"} <= file.groups.keys()
    if layout == analysis.LAYOUT:
        return "ensemble", ensemble(path)
    if layout == feedback.LAYOUT:
        return "feedback", _feedback(path)
    if foreign:
        return "IODA observations", _ioda(path)
    raise InputError("a NetCDF or HDF5 file, but none that stormda writes", file=path, hint=_HINT)


def ensemble(path: Path) -> Facts:
    """Time, grid, members; mean, range and spread of each channel, weighted by area."""
    facts = Facts()
    with open_netcdf(path, hint=_HINT) as file:
        grid = read_grid(file)
        facts.add("time", format_time(read_time(file)))
        facts.add("grid", str(grid))
        facts.add("members", len(file.dimensions["realization"]))
        for name in file.ncattrs():
            if name not in analysis.OWN:
                facts.add(name, file.getncattr(name))
        facts.add("conventions", f"{file.Conventions}, {file.source}")
        if "error_covariance" in file.variables:
            facts.add("error covariance", f"{len(file.dimensions['mode'])} modes")
        facts.columns = ["channel", "unit", "mean", "minimum", "maximum", "spread"]
        for channel in map(Channel.parse, file.channels.split()):
            mean, spread = (file[f"{channel.name}_{x}"][:].astype(np.float64) for x in ("mean", "spread"))
            average = np.average(mean, weights=grid.weights)
            deviation = np.sqrt(np.average(spread**2, weights=grid.weights))
            numbers = [f"{v:.6g}" for v in (average, mean.min(), mean.max())]
            facts.rows.append([channel.name, channel.info.unit, *numbers, f"{deviation:.4g}"])
    return facts


def _feedback(path: Path) -> Facts:
    """Times, members, counts by QC code; what was used and how far it lay off, by source and variable."""
    read = feedback.read_feedback(path)
    facts, observations = Facts(), read.observations
    qc, withheld = observations["qc"], observations["withheld"].astype(bool)
    times = observations["time"][~np.isnat(observations["time"])]
    facts.add("values", len(observations))
    facts.add("times", f"{format_time(times.min())} to {format_time(times.max())}" if times.size else "none")
    facts.add("members", read.background.shape[0])
    for pair in read.attributes.items():
        facts.add(*pair)
    for words, count in by_code(observations):
        facts.add(f"qc {words}", count)
    facts.columns = ["source", "variable", "values", "used", "withheld", "rejected", "O-B mean", "O-B rms", "O-A rms"]
    value = observations["value"]
    ombg, oman = (value - members.mean(axis=0) for members in (read.background, read.analysis))
    keys, number = np.unique(observations["source"] + "\n" + observations["variable"], return_inverse=True)
    for i, key in enumerate(keys):
        own = number == i
        good = own & (qc == QC.USED)
        counts = [own.sum(), (good & ~withheld).sum(), (good & withheld).sum(), (own & (qc != QC.USED)).sum()]
        departures = [_mean(ombg[good]), _rms(ombg[good]), _rms(oman[good])]
        facts.rows.append([*key.split("\n"), *(str(int(c)) for c in counts), *departures])
    return facts


def _ioda(path: Path) -> Facts:
    """Locations; values, those that pass the file's own quality control, mean and range of each variable."""
    facts = Facts()
    with open_netcdf(path, hint=_HINT) as file:
        facts.add("locations", len(file.dimensions["Location"]))
        for name in file.ncattrs():
            facts.add(name, file.getncattr(name))
        facts.columns = ["variable", "unit", "values", "accepted", "mean", "minimum", "maximum"]
        for name in (n for n, v in file["ObsValue"].variables.items() if v.ndim == 1 and v.dtype is not str):
            value = numbers(file["ObsValue"], name)
            known = value[np.isfinite(value)]
            codes = file["EffectiveQC"] if "EffectiveQC" in file.groups and has(file["EffectiveQC"], name) else None
            good = np.isfinite(value) if codes is None else np.isfinite(value) & (numbers(codes, name) == 0.0)
            unit = str(getattr(file["ObsValue"][name], "units", ""))
            moments = [f"{m:.6g}" for m in (known.mean(), known.min(), known.max())] if known.size else ["-"] * 3
            facts.rows.append([name, unit, str(known.size), str(int(good.sum())), *moments])
    return facts


def by_code(observations: Observations) -> list[tuple[str, int]]:
    """How many were used, passed every check but were withheld, and got each other QC code."""
    qc, withheld = observations["qc"], observations["withheld"].astype(bool)
    others = sorted(set(qc.tolist()) - {int(QC.USED)})
    return [
        ("used", int(((qc == QC.USED) & ~withheld).sum())),
        ("used, but withheld", int(((qc == QC.USED) & withheld).sum())),
        *((_words(code), int((qc == code).sum())) for code in others),
    ]


def _words(code: int) -> str:
    return QC(code).words if code in {int(c) for c in QC} else f"code {code}"


def _mean(values: Array) -> str:
    known = values[np.isfinite(values)]
    return f"{known.mean():.4g}" if known.size else "-"


def _rms(values: Array) -> str:
    known = values[np.isfinite(values)]
    return f"{np.sqrt((known**2).mean()):.4g}" if known.size else "-"
