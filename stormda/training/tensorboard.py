"""Event files for TensorBoard, beside the CSV log, where its package is installed."""

__all__ = ["event_writer"]

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stormda.errors import ConfigError


def event_writer(folder: Path) -> Callable[[Mapping[str, float]], None]:
    """A function that adds a row of the training log to the event files in a folder.

    A training that goes on from its checkpoint writes a new file, which replaces the steps that are done again.

    Raises:
        ConfigError: the package is missing.
    """
    if find_spec("tensorboard") is None:
        what = "event files need the package tensorboard, which is not installed"
        raise ConfigError(what, key="train.tensorboard", hint="pip install tensorboard, or train.tensorboard=false")
    writer: Any = None

    def record(row: Mapping[str, float]) -> None:
        nonlocal writer
        from torch.utils.tensorboard import SummaryWriter

        step = int(row["step"])
        if writer is None:
            writer = SummaryWriter(str(folder), purge_step=step)
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, step)
        writer.flush()

    return record
