"""The picture of a training: loss over steps, loss by noise level, forecast error, calibration."""

__all__ = ["draw_curve"]

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Row = Mapping[str, float]


def draw_curve(curve: Sequence[_Row], persistence: Mapping[str, float], best: float) -> bytes:
    """A PNG file of the rows of a training log; `best` is the step whose weights were kept."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, levels, errors, calibration = figure.subplots(1, 4)
    _losses(left, curve, best)
    _levels(levels, curve)
    _by_channel(errors, curve, "rmse ", "-")
    _by_channel(errors, curve, "crps ", "--")
    for i, name in enumerate(n for n in persistence if n.startswith("rmse ")):
        errors.axhline(persistence[name], color=f"C{i}", ls=":", lw=1)
    title = "One-step RMSE (solid), CRPS (dashed)\ndotted: RMSE of persistence"
    errors.set(xlabel="step", ylabel="climatological sd", title=title)
    errors.legend()
    _by_channel(calibration, curve, "spread/skill ", "-")
    calibration.axhline(1.0, color="0.7", lw=1)
    calibration.set(xlabel="step", title="One-step spread/skill")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _losses(axes: "Axes", curve: Sequence[_Row], best: float) -> None:
    steps = [row["step"] for row in curve]
    axes.plot(steps, [row["train"] for row in curve], label="training")
    axes.plot(steps, [row["loss"] for row in curve], label="validation")
    axes.axvline(best, color="0.7", lw=1, label="weights kept")
    axes.set(xlabel="step", ylabel="denoising loss", title="Loss (1: the linear-Gaussian guess)")
    axes.legend()


def _levels(axes: "Axes", curve: Sequence[_Row]) -> None:
    names = [name for name in curve[-1] if name.startswith("loss at ")]
    sigmas = [float(name.removeprefix("loss at ")) for name in names]
    for row, style in ((curve[0], "C7o:"), (curve[-1], "C1o-")):
        axes.semilogx(sigmas, [row[name] for name in names], style, label=f"step {row['step']:.0f}")
    axes.set(xlabel="noise level sigma", title="Validation loss by noise level")
    axes.legend()


def _by_channel(axes: "Axes", curve: Sequence[_Row], what: str, style: str) -> None:
    """A line a channel, over the validations that have the score."""
    for i, name in enumerate(n for n in curve[-1] if n.startswith(what)):
        rows = [row for row in curve if name in row]
        label = name.removeprefix(what) if style == "-" else None
        axes.plot([row["step"] for row in rows], [row[name] for row in rows], f"C{i}", ls=style, label=label)
