"""A file at a URL of which only the parts come that are read: NetCDF-4, which is HDF5, whose chunks lie anywhere.

    cache/https/HOST/path/FILE.remote       which version of what it is; whoever opens it reads the file
    cache/https/HOST/path/.FILE.blocks/N    its blocks of 256 KiB that have come

A block in the cache is not asked for again while the server shows the same version (ETag or time of change) when the
run begins; of another version all blocks are dropped.
"""

__all__ = ["RemoteFile", "lazy_file", "remote_file"]

import io
import json
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

from stormda.config import RemoteConfig
from stormda.errors import InputMissing, StormdaError
from stormda.sources.cache import Cache
from stormda.store.publish import write_json

_SUFFIX = ".remote"
_BLOCK = 1 << 18  # bytes that are asked for at once
_HELD = 64  # blocks in memory


def lazy_file(cache: Cache, url: str, key: str) -> Path:
    """The file of the cache that stands for one at a URL; the server is asked for its version.

    Raises:
        InputMissing: nothing there, no answer; offline and not in the cache.
        InputError: no access.
    """
    place = cache.place(url)
    note = place.with_name(place.name + _SUFFIX)
    known = _facts(note)
    if cache.settings.offline:
        if known is None:
            hint = "set remote.offline: false where there is a network"
            raise InputMissing("the file is not in the cache, and remote.offline is set", file=url, key=key, hint=hint)
        version = {name: known[name] for name in ("size", "etag", "modified")}
    else:
        there = cache.server.look(url, key)
        version = {"size": there.size, "etag": there.etag, "modified": there.modified}
    if known is None or any(known[name] != value for name, value in version.items()):
        shutil.rmtree(_blocks(place), ignore_errors=True)
    settings = cache.settings.model_dump(mode="json")
    write_json(note, {"url": url, **version, "cache": str(cache.folder), "settings": settings})
    return note


def remote_file(path: Path, key: str = "files") -> "RemoteFile | None":
    """The file that a path stands for; None where it stands for itself."""
    facts = _facts(path) if path.suffix == _SUFFIX else None
    if facts is None:
        return None
    cache = Cache(Path(facts["cache"]), RemoteConfig.model_validate(facts["settings"]))
    return RemoteFile(cache, facts["url"], facts["size"], key)


def _facts(note: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        return facts if {"url", "size", "etag", "modified", "cache", "settings"} <= facts.keys() else None
    except (OSError, ValueError):
        return None


def _blocks(place: Path) -> Path:
    return place.with_name(f".{place.name}.blocks")


class RemoteFile(io.RawIOBase):
    """Read only, with a position.

    Args:
        cache: where its blocks are kept.
        url: of the file.
        size: bytes.
        key: configuration key, for messages.
    """

    def __init__(self, cache: Cache, url: str, size: int, key: str) -> None:
        self.cache, self.url, self.size, self.key = cache, url, size, key
        self.error: StormdaError | None = None  # what a library that reads from here may hide
        self._at = 0
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Bytes from there on, up to the end of a block."""
        number, inside = divmod(self._at, _BLOCK)
        if self._at >= self.size:
            return 0
        piece = self._block(number)[inside : inside + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        start = number * _BLOCK
        end = min(start + _BLOCK, self.size)
        place = _blocks(self.cache.place(self.url)) / f"{number:08d}"
        try:
            data = self.cache.kept(place, self.url, self.key, start, end)
            if data is None or len(data) != end - start:
                raise InputMissing("the file has changed while it was read", file=self.url, key=self.key, hint="again")
        except StormdaError as error:
            self.error = error
            raise
        self._held[number] = data
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return data
