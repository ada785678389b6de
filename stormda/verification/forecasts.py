"""Figures of forecasts from the analyses of several methods: errors by lead, and scales beside those of the truth."""

__all__ = ["forecast_figure", "spectra_figure"]

from collections.abc import Mapping
from typing import Any

import numpy as np

from stormda.verification.plots import Line, Panel, panels


def forecast_figure(forecasts: Mapping[str, Mapping[str, Any]], unit: str) -> bytes:
    """RMSE (with the spread, dashed) and CRPS by lead.

    Args:
        forecasts: by method: `hours`, `rmse` and `crps` (each with its `value`) and `spread_skill`, by lead.
        unit: of both.
    """
    errors, ranked = [], []
    for colour, (method, f) in enumerate(forecasts.items()):
        lead = np.asarray(f["hours"])
        rmse, crps = (np.asarray([v["value"] for v in f[name]]) for name in ("rmse", "crps"))
        errors.append(Line(method, lead, rmse, colour, "-"))
        errors.append(Line(f"{method}: spread", lead, rmse * np.asarray(f["spread_skill"]), colour, "--"))
        ranked.append(Line(method, lead, crps, colour, "-"))
    drawn = [Panel("RMSE and spread", "lead [h]", errors), Panel("CRPS", "lead [h]", ranked)]
    return panels(drawn, label=f"[{unit}]", title="forecasts from the analyses, in one model")


def spectra_figure(forecasts: Mapping[str, Mapping[str, Any]], spectra: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Power of the members beside that of the truth by scale, at the analysis, half-way and at the end.

    Args:
        forecasts: by method, with `hours`.
        spectra: by method: `wavelengths` [K] in grid points, `members` and `truth` [L + 1, K].
    """
    hours = next(iter(forecasts.values()))["hours"]
    drawn = []
    for k in sorted({0, (len(hours) - 1) // 2, len(hours) - 1}):
        lines = []
        for colour, (method, s) in enumerate(spectra.items()):
            members, truth = (np.asarray(s[name][k]) for name in ("members", "truth"))
            there = truth > 1e-9 * truth.max()  # scales that the truth does not have compare with nothing
            ratio = np.clip(members[there] / truth[there], 0.0, 4.0)
            lines.append(Line(method, np.asarray(s["wavelengths"])[there], ratio, colour, "-"))
        drawn.append(Panel(f"+{hours[k]:g} h", "wavelength [grid points]", lines, logarithmic=True))
    return panels(drawn, label="power: members / truth", title="scales of the members, cut at 4")
