"""How many observations of each source are used, and why the others are not."""

__all__ = ["counts"]

from stormda.observations import QC, Observations


def counts(observations: Observations) -> dict[str, dict[str, int]]:
    """Source: {words of the QC code: rows}, codes in ascending order, `used` first."""
    found = observations.table.group_by(["source", "qc"]).aggregate([([], "count_all")]).to_pylist()
    out: dict[str, dict[str, int]] = {}
    for row in sorted(found, key=lambda r: (r["source"], r["qc"])):
        out.setdefault(row["source"], {})[QC(row["qc"]).words] = row["count_all"]
    return out
