"""Checkpoints: all that a training needs to go on as if nothing had happened, in one file, whole or not there."""

__all__ = ["read_checkpoint", "write_checkpoint"]

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stormda.errors import CheckpointError
from stormda.store.publish import write_bytes


def write_checkpoint(path: Path, state: Mapping[str, Any], job: str) -> None:
    """Publish tensors and plain values, with the fingerprint of the job they belong to; raises OutputError."""
    buffer = io.BytesIO()
    torch.save({"job": job, "state": dict(state)}, buffer)
    write_bytes(path, buffer.getvalue())


def read_checkpoint(path: Path, job: str) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote, or None where there is none.

    Raises:
        CheckpointError: the file is damaged, or belongs to another job (grid, channels, network, data or settings).
    """
    hint = f"remove {path.name} to start afresh, or choose another run_dir"
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = content["job"], content["state"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError("the training checkpoint is damaged", file=path, hint=hint) from error
    if found != job:
        what = "the training checkpoint belongs to another network, archive or configuration"
        raise CheckpointError(f"{what} ({_difference(found, job)})", file=path, hint=hint)
    return dict(state)


def _difference(found: str, wanted: str) -> str:
    """The first lines that differ: `width: 64 -> 96`."""
    pairs = zip(found.splitlines(), wanted.splitlines(), strict=False)
    lines = [f"{a} -> {b.rpartition(': ')[2]}" for a, b in pairs if a != b]
    return "; ".join(lines[:3]) or "it has other entries"
