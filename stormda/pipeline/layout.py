"""Where the products of a run lie: names are a pure function of configuration, method, cycle and split seed.

    <run_dir>/archive.zarr                        what the priors learn from
    <run_dir>/observations/                       the observation store
    <run_dir>/weights.safetensors, training/      the STORM prior and its training
    <run_dir>/analyses/<method>/<cycle>[_splitNN]/{analysis,background,feedback}.nc provenance.json config.yaml
    <run_dir>/forecasts/<method>/<cycle>[_splitNN]/forecast.nc
    <run_dir>/verification/<method>/statistics/<cycle>[_splitNN].parquet  what each analysis time adds to the scores
    <run_dir>/verification/<method>/[<period>/]{scores.json,report.html}  of all of them, or of a period
    <run_dir>/denied/without-<source>/                                    a run without a source (`verify --deny`)
    <run_dir>/cycle/{ledger.sqlite,lock}          what became of every cycle

A split is one way to choose the withheld stations; its number is in the name only where the configuration has several.
"""

__all__ = ["analysis_folder", "forecast_folder", "parse_folder", "verification_folder"]

import re
from pathlib import Path

import numpy as np

from stormda.config import Config
from stormda.time import parse_time, stamp


def _name(config: Config, cycle: np.datetime64, split: int) -> str:
    return stamp(cycle) + (f"_split{split:02d}" if len(config.quality.withhold.seeds) > 1 else "")


def analysis_folder(config: Config, method: str, cycle: np.datetime64, split: int) -> Path:
    """The folder of one analysis."""
    return config.run / "analyses" / method / _name(config, cycle, split)


def forecast_folder(config: Config, method: str, cycle: np.datetime64, split: int) -> Path:
    """The folder of the forecast from one analysis."""
    return config.run / "forecasts" / method / _name(config, cycle, split)


def verification_folder(config: Config, method: str) -> Path:
    """The folder of the scores of a method."""
    return config.run / "verification" / method


def parse_folder(name: str) -> tuple[np.datetime64, int | None] | None:
    """The cycle and split seed of a folder's name; None if it is not such a folder."""
    match = re.fullmatch(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})Z(?:_split(\d+))?", name)
    if not match:
        return None
    cycle = parse_time(f"{match[1]}-{match[2]}-{match[3]}T{match[4]}:{match[5]}")
    return cycle, None if match[6] is None else int(match[6])
