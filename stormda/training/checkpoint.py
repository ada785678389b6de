"""Checkpoints: all that a training needs to go on as if nothing had happened, in one file, whole or not there."""

__all__ = ["join_checkpoint", "read_checkpoint", "split_checkpoint", "write_checkpoint"]

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stormda.errors import CheckpointError
from stormda.store.publish import write_bytes

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW


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


def split_checkpoint(path: Path, folder: Path, part: int) -> list[Path]:
    """Copy a checkpoint in files of at most `part` bytes, `<name>.00` and on, to be carried to another machine.

    The moments of the optimiser are rounded to bfloat16, half their size: two to three digits of numbers that are
    averages over noise. A training that goes on from the parts is therefore the same only within that.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    for state in content["state"]["optimiser"]["state"].values():
        for name in _MOMENTS:
            state[name] = state[name].to(torch.bfloat16)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    parts = [folder / f"{path.name}.{n:02d}" for n in range(-(-len(data) // part))]
    for old in folder.glob(f"{path.name}.[0-9][0-9]"):
        old.unlink()
    for n, place in enumerate(parts):
        write_bytes(place, data[n * part : (n + 1) * part])
    return parts


def join_checkpoint(folder: Path, path: Path) -> bool:
    """Put together what `split_checkpoint` left in a folder; false where there is nothing."""
    parts = sorted(folder.glob(f"{path.name}.[0-9][0-9]"))
    if parts:
        write_bytes(path, b"".join(p.read_bytes() for p in parts))
    return bool(parts)


def _difference(found: str, wanted: str) -> str:
    """The first lines that differ: `width: 64 -> 96`."""
    pairs = zip(found.splitlines(), wanted.splitlines(), strict=False)
    lines = [f"{a} -> {b.rpartition(': ')[2]}" for a, b in pairs if a != b]
    return "; ".join(lines[:3]) or "it has other entries"
