"""Gridded files, opened and read in the worker: what is here of a field is its description.

    main process                                  worker
    open_fields(path)               -->           opens the file and keeps it open
    fields: names, axes, units      <--
    field.read(block)               -->           reads; opens the file again where a crash ended the worker before
    values, through shared memory   <--

So a file that crashes, hangs or overfeeds its library is an error of that file, and finding the layers, their units,
times and grids needs no library of a format. Values come back through memory that both processes map: writing an array
into a pipe takes about as long as reading it from a file. Zarr is read here: its metadata are JSON, its chunks have
their length beside them, and those of a store at a URL come by many connections at once.
"""

__all__ = ["open_fields"]

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from stormda.config import GriddedSource
from stormda.sources.fields import Block, Field
from stormda.sources.netcdf import open_netcdf
from stormda.sources.worker import alive, isolated
from stormda.sources.zarr import open_zarr
from stormda.types import Array

T = TypeVar("T")

_OPEN_FILES = 16


@contextmanager
def open_fields(path: Path, source: GriddedSource, key: str) -> Iterator[list[Field]]:
    """The fields of a file, which can be read inside the `with`.

    Args:
        path: the file.
        source: its configuration: `kind`, `filter` and `limits` of the reader.
        key: configuration key of the source, for messages.

    Raises:
        InputError: as of `open_netcdf`, `open_grib` and `open_zarr`; also while reading. The library crashed, or needs
            more time or memory than the limits allow.
    """
    if source.kind == "zarr":
        with open_zarr(path, source) as fields:
            yield fields
        return
    file = _File(path, source, key, secrets.token_hex(8))
    fields = file.ask(_described, file)
    try:
        yield fields
    finally:
        if alive():
            file.ask(_close, file)


@dataclass(frozen=True)
class _File:
    """A file as it was opened: under another name each time, for what is at its path may change."""

    path: Path
    source: GriddedSource
    key: str
    name: str

    def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """The answer of the worker."""
        return isolated(function, *arguments, file=self.path, key=self.key, limits=self.source.limits)


@dataclass(frozen=True)
class _Reader:
    """Reads blocks of one field of a file."""

    file: _File
    number: int

    def __call__(self, block: Block) -> Array:
        return self.file.ask(_read, self.file, self.number, block)


# --- the worker ------------------------------------------------------------------------------------------------------

_held: OrderedDict[str, tuple[ExitStack, list[Field]]] = OrderedDict()


def _fields(file: _File) -> list[Field]:
    if file.name in _held:
        _held.move_to_end(file.name)
        return _held[file.name][1]
    if len(_held) >= _OPEN_FILES:
        _held.popitem(last=False)[1][0].close()
    with ExitStack() as stack:
        if file.source.kind == "grib":
            from stormda.sources.grib import open_grib  # Brings ecCodes, for the worker alone.

            fields = stack.enter_context(open_grib(file.path, file.source))
        else:
            fields = stack.enter_context(open_netcdf(file.path, file.source))
        _held[file.name] = (stack.pop_all(), fields)
    return fields


def _described(file: _File) -> list[Field]:
    return [replace(f, read=_Reader(file, number)) for number, f in enumerate(_fields(file))]


def _read(file: _File, number: int, block: Block) -> Array:
    return _fields(file)[number].read(block)


def _close(file: _File) -> None:
    if file.name in _held:
        _held.pop(file.name)[0].close()
