"""Provenance: how a product came to be, so that it can be made again.

Versions, commit, time, command line and hashes; nothing that depends on the machine's name or its folders. Inputs are
told apart by what they hold (SHA-256, FIPS 180-4), never by where they lie.
"""

__all__ = ["digest", "fingerprint", "provenance"]

import hashlib
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from stormda import __version__
from stormda.errors import InputError, InputMissing
from stormda.observations import Observations

_PACKAGES = ("torch", "numpy", "scipy", "xarray", "zarr", "netCDF4")


def provenance(config_yaml: str, **facts: Any) -> dict[str, Any]:
    """What to write beside a product.

    Args:
        config_yaml: the resolved configuration.
        facts: what the stage knows: cycle, seeds, counts, hashes of its inputs; anything that JSON can hold.

    Returns:
        `stormda`, `commit` (None outside a checkout), `python`, `packages`, `created` (UTC), `command`,
        `config_sha256` and the facts.
    """
    return {
        "stormda": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "config_sha256": hashlib.sha256(config_yaml.encode()).hexdigest(),
    } | facts


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder: of the names and digests of all its files, sorted.

    Raises:
        InputMissing: nothing is there.
        InputError: it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            lines = [f"{digest(p)}  {p.relative_to(path).as_posix()}\n" for p in files]
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputMissing("the file does not exist", file=path) from None
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", file=path) from error


def fingerprint(observations: Observations) -> str:
    """SHA-256 of what was observed: time, place, station, variable, level, value and error of each row, in order."""
    names = ("time", "latitude", "longitude", "station_id", "variable", "level", "value", "error")
    table = observations.table.select(names).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that runs, with `-dirty` where files were changed; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
