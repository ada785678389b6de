"""A file at a URL of which only the parts come that are read: NetCDF-4, which is HDF5, whose chunks lie anywhere.

    cache/https/HOST/path/FILE.remote         which version of what it is; whoever opens it reads the file
    cache/https/HOST/path/.FILE.blocks/V/N    its blocks of 256 KiB that have come, of version V

A block in the cache is not asked for again while the server shows the same version (ETag or time of change) when the
run begins; blocks of other versions are dropped. Where the server shows none, the blocks serve one run alone. Each
answer is held against the version that the run began with, so that a file is never mixed from two.
"""

__all__ = ["RemoteFile", "lazy_file", "remote_file"]

import hashlib
import io
import json
import secrets
import shutil
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stormda.config import RemoteConfig
from stormda.errors import InputMissing, StormdaError
from stormda.sources.cache import Cache
from stormda.sources.transport import Identity
from stormda.store.publish import write_json

_SUFFIX = ".remote"
_BLOCK = 1 << 18  # bytes that are asked for at once
_HELD = 64  # blocks in memory
_VERSION = ("size", "etag", "modified", "blocks")


def lazy_file(cache: Cache, url: str, key: str) -> Path:
    """The file of the cache that stands for one at a URL; the server is asked for its version.

    Raises:
        InputMissing: nothing there, no answer; offline and not in the cache.
        InputError: no access.
    """
    place = cache.place(url)
    note = place.with_name(place.name + _SUFFIX)
    if cache.settings.offline:
        known = _facts(note)
        if known is None:
            hint = "set remote.offline: false where there is a network"
            raise InputMissing("the file is not in the cache, and remote.offline is set", file=url, key=key, hint=hint)
        version = {name: known[name] for name in _VERSION}
    else:
        there = cache.server.look(url, key)
        version = {**asdict(there), "blocks": _name(there)}
        _drop_others(_blocks(place), version["blocks"])
    settings = cache.settings.model_dump(mode="json")
    write_json(note, {"url": url, **version, "cache": str(cache.folder), "settings": settings})
    return note


def remote_file(path: Path, key: str = "files") -> "RemoteFile | None":
    """The file that a path stands for; None where it stands for itself."""
    facts = _facts(path) if path.suffix == _SUFFIX else None
    if facts is None:
        return None
    cache = Cache(Path(facts["cache"]), RemoteConfig.model_validate(facts["settings"]))
    version = Identity(facts["size"], facts["etag"], facts["modified"])
    return RemoteFile(cache, facts["url"], version, _blocks(cache.place(facts["url"])) / facts["blocks"], key)


def _facts(note: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        return facts if {"url", *_VERSION, "cache", "settings"} <= facts.keys() else None
    except (OSError, ValueError):
        return None


def _blocks(place: Path) -> Path:
    return place.with_name(f".{place.name}.blocks")


def _name(version: Identity) -> str:
    """Of the folder of a version: a new one each time where nothing but the size speaks for it being the same."""
    if not version.known:
        return secrets.token_hex(8)
    return hashlib.sha256(json.dumps(asdict(version)).encode()).hexdigest()[:16]


def _drop_others(blocks: Path, name: str) -> None:
    """Make room: what stays, because it cannot be removed, is never read again."""
    for entry in blocks.iterdir() if blocks.is_dir() else ():
        if entry.name == name:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                entry.unlink()


class RemoteFile(io.RawIOBase):
    """Read only, with a position.

    Args:
        cache: where its blocks are kept.
        url: of the file.
        version: of which all that is read is.
        blocks: the folder of its blocks.
        key: configuration key, for messages.
    """

    def __init__(self, cache: Cache, url: str, version: Identity, blocks: Path, key: str) -> None:
        self.cache, self.url, self.version, self.blocks, self.key = cache, url, version, blocks, key
        self.size = version.size
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
        place = self.blocks / f"{number:08d}"
        try:
            data = self.cache.kept(place, self.url, self.key, start, end, self.version)
            if data is None or len(data) != end - start:
                raise InputMissing(
                    "the file has changed while it was read", file=self.url, key=self.key, hint="run it again"
                )
        except StormdaError as error:
            self.error = error
            raise
        self._held[number] = data
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return data
