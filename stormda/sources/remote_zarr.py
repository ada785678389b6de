"""Zarr stores at URLs, read as they are needed: a chunk is fetched when a field of it is read, and kept in the cache.

A folder of the cache stands for the store: it holds a note of the URL and of the limits, and beside it the objects that
have come, under their own names. Whoever opens the folder reads the store. Chunks are taken to be final: one that is in
the cache is not asked for again, so that a reading that was killed goes on where it was.

An object that the server does not have is what the format calls a chunk of fill values. Where the fill value is a plain
number nobody could tell it from data, so that reading it is an error.
"""

__all__ = ["RemoteStore", "remote_store", "stand_in"]

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from stormda.config import RemoteConfig
from stormda.errors import InputError
from stormda.sources.cache import Cache
from stormda.store.publish import write_json

_NOTE = ".stormda-remote.json"


def stand_in(cache: Cache, url: str) -> Path:
    """The folder of the cache that stands for a store; made where it is not there."""
    folder, url = cache.place(url), url.rstrip("/")
    note = {"url": url, "cache": str(cache.folder), "settings": cache.settings.model_dump(mode="json")}
    write_json(folder / _NOTE, note)
    return folder


def remote_store(folder: Path) -> "RemoteStore | None":
    """The store that a folder stands for; None where it stands for itself."""
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    cache = Cache(Path(note["cache"]), RemoteConfig.model_validate(note["settings"]))
    return RemoteStore(cache, note["url"])


class RemoteStore(Store):
    """A store at a URL, read only.

    Args:
        cache: where its objects are kept.
        url: of its root, without a slash at the end.
        strict: names of arrays of which no chunk may be absent.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, cache: Cache, url: str, strict: frozenset[str] = frozenset()) -> None:
        super().__init__(read_only=True)
        self.cache, self.url, self.strict = cache, url, strict

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and (other.url, other.cache.folder) == (self.url, self.cache.folder)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """An object, or a part of one; None where it is not there."""
        start, end = _span(byte_range)
        data = await asyncio.to_thread(self.cache.piece, f"{self.url}/{key}", "files", start, end)
        if data is not None:
            return (prototype or default_buffer_prototype()).buffer.from_bytes(data)
        if key.partition("/")[0] in self.strict and not _is_metadata(key):
            what = f"the store lacks chunk {key}, which would read as a plain number"
            raise InputError(what, file=self.url, hint="an incomplete copy? choose other dates")
        return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Several of `get`."""
        return list(await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether an object is there: metadata, which are small."""
        return await self.get(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Not possible."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Not possible."""
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        """Not possible: HTTP has no list, and buckets of archives are too long for one."""
        raise NotImplementedError
        yield ""

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Not possible."""
        raise NotImplementedError
        yield ""

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Not possible."""
        raise NotImplementedError
        yield ""


def _span(byte_range: ByteRequest | None) -> tuple[int, int | None]:
    """Start and end; a negative start counts from the end."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, None
    if isinstance(byte_range, SuffixByteRequest):
        return -byte_range.suffix, None
    return 0, None


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
