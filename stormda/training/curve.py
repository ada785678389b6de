"""The picture of a training: loss over steps, loss by noise level, forecast error beside persistence."""

__all__ = ["draw_curve"]

from collections.abc import Mapping, Sequence
from pathlib import Path

from stormda.store.publish import atomic


def draw_curve(path: Path, curve: Sequence[Mapping[str, float]], persistence: Mapping[str, float], best: float) -> None:
    """Draw the rows of a training log; `best` is the step whose weights were kept. Raises OutputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    steps = [row["step"] for row in curve]
    left.plot(steps, [row["train"] for row in curve], label="training")
    left.plot(steps, [row["loss"] for row in curve], label="validation")
    left.axvline(best, color="0.7", lw=1, label="weights kept")
    left.set(xlabel="step", ylabel="denoising loss", title="Loss (1: pointwise persistence)")
    left.legend()
    levels = [name for name in curve[-1] if name.startswith("loss at ")]
    sigmas = [float(name.removeprefix("loss at ")) for name in levels]
    for row, style in ((curve[0], "C7o:"), (curve[-1], "C1o-")):
        middle.semilogx(sigmas, [row[name] for name in levels], style, label=f"step {row['step']:.0f}")
    middle.set(xlabel="noise level sigma", title="Validation loss by noise level")
    middle.legend()
    for i, name in enumerate(n for n in curve[-1] if n.startswith("rmse ")):
        right.plot(steps, [row[name] for row in curve], f"C{i}", label=name.removeprefix("rmse "))
        right.axhline(persistence[name], color=f"C{i}", ls=":", lw=1)
    right.set(xlabel="step", ylabel="climatological sd", title="One-step forecast RMSE (dotted: persistence)")
    right.legend()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
