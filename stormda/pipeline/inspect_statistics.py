"""What a statistics file of `stormda verify` holds, for people: `verification/<method>/statistics/<cycle>.parquet`."""

__all__ = ["describe", "is_statistics"]

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stormda.errors import InputError
from stormda.pipeline.facts import Facts
from stormda.time import format_time, hours
from stormda.verification.statistics import read_record
from stormda.verification.summary import METRICS
from stormda.verification.tally import Key, Tally

_KINDS = {
    "truth": "against the gridded truth",
    "radar": "against radar fields",
    "withheld": "against withheld observations",
    "used": "against the observations that were used",
    "innovations": "departures of the observations that were used",
    "spectra": "power spectra",
    "balance": "balance",
}
_DEPARTURES = ("d_ob_d_ob", "d_oa_d_ob", "d_ab_d_oa")


def describe(path: Path) -> tuple[str, Facts]:
    """Its analysis time, what it was compared with, what is missing; a row for everything that was compared.

    Raises:
        InputError: damaged, or Parquet of another kind.
    """
    if not is_statistics(path):
        hint = "batches of observations are explained by the folder of the observation store"
        raise InputError("Parquet, but no statistics file", file=path, hint=hint)
    record, facts = read_record(path), Facts()
    tally = Tally.of(record.parts)
    facts.add("cycle", format_time(record.cycle))
    facts.add("split", record.split)
    for target in dict.fromkeys(p.target for p in record.parts):
        own = [p for p in record.parts if p.target == target]
        stations = {str(s) for p in own for s in p.stations} - {""}
        text = f"{len(own)} comparisons" + (f", {len(stations)} stations" if stations else "")
        facts.add(_KINDS.get(target, target), text)
    facts.add("statistics", ", ".join(sorted({n for p in record.parts for n in p.sums.totals})))
    for line in record.missing or ("nothing",):
        facts.add("missing", line)
    facts.add("made of", "files with the fingerprint " + record.fingerprint)
    facts.columns = ["target", "variable", "of", "region", "source", "members", "values", "RMSE", "bias", "CRPS"]
    facts.rows = [_row(tally, key) for key in tally.keys()]
    return "statistics", facts


def is_statistics(path: Path) -> bool:
    """Whether a Parquet file is one that `stormda verify` wrote; raises InputError for a damaged one."""
    try:
        return b"stormda_layout" in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"truncated or not Parquet ({error})", file=path) from error


def _row(tally: Tally, key: Key) -> list[str]:
    total = tally.by_time(key)[1].together()
    side = key.side + (f" {hours(key.lead):+g} h" if key.lead else "")
    own = [key.target, f"{key.variable} [{key.unit}]" if key.unit else key.variable, side, key.region]
    own += [key.source or "-", str(tally.members(key)), f"{total.count[0]:.0f}"]
    if all(name in total.totals for name in ("error", "squared_error", "crps")):
        return own + [f"{float(METRICS[m](total)[0]):.4g}" for m in ("rmse", "bias", "crps")]
    if all(name in total.totals for name in _DEPARTURES):  # (O-A)^2 = (O-A)(O-B) - (A-B)(O-A)
        own[2] = "O-A"
        square = total.mean("d_oa_d_ob")[0] - total.mean("d_ab_d_oa")[0]
        return [*own, f"{np.sqrt(max(square, 0.0)):.4g}", f"{total.mean('d_oa')[0]:.4g}", "-"]
    return [*own, "-", "-", "-"]
