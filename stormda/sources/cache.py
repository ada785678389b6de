"""Files at URLs, kept in a folder: fetched once, whole or not at all, gone on with where a download was cut.

    cache/https/HOST/path/FILE           the file, changed when it was fetched, accessed when it was last used
    cache/https/HOST/path/.FILE.json     what version of what it is: URL, size, ETag, time of change, SHA-256
    cache/https/HOST/path/.FILE.part     as much as has come of it, and .FILE.part.json of which version

A part goes on with a request for the rest (Range, RFC 9110 section 14), also in a later run, if the server shows the
same version by its ETag or time of change; else it begins again. The length is held against the one that the server
told, and the file takes its place by a rename. Next time the server is asked whether the version is still the same
(If-None-Match); where it does not answer, the copy serves, with a warning.

What was longest not used is removed where the folder would grow beyond its limit, never what this process has used.
"""

__all__ = ["Cache", "Known"]

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
from obstore.exceptions import BaseError, NotSupportedError

from stormda.config import RemoteConfig
from stormda.errors import InputError, InputMissing, OutputError, StormdaError
from stormda.sources.transport import Identity, Server, final, in_words, pause, unanswered
from stormda.sources.urls import local_name
from stormda.store.publish import write_json
from stormda.types import Progress, silent

log = logging.getLogger(__name__)

_GIB = 1 << 30
_NO_SUCH_PART = "status 416 Range Not Satisfiable"  # there are fewer bytes than were announced


@dataclass(frozen=True)
class Known:
    """What is known of a file without fetching it.

    Args:
        url: of the file.
        size: bytes; None where nobody told.
        cached: whether the cache has this version.
    """

    url: str
    size: int | None
    cached: bool


class Cache:
    """The folder.

    Args:
        folder: made when something is fetched.
        settings: limits and retries.
    """

    def __init__(self, folder: Path, settings: RemoteConfig) -> None:
        self.folder, self.settings = folder, settings
        self.server = Server(settings)
        self._used: set[Path] = set()
        self._size: int | None = None

    def place(self, url: str) -> Path:
        """Where the file of a URL is kept, whether it is there or not."""
        return self.folder / local_name(url)

    def look(self, url: str, key: str) -> Known:
        """What would be fetched; raises InputMissing where the file is not there, offline: not in the cache."""
        path, known = self.place(url), self._known(url)
        if self.settings.offline:
            if known is None:
                raise self._absent(url, key)
            return Known(url, known.size, True)
        there = self.server.look(url, key)
        return Known(url, there.size, known == there and path.exists())

    def fetch(self, url: str, key: str, progress: Progress = silent) -> Path:
        """The file of a URL, on this machine.

        Args:
            url: of the file.
            key: configuration key, for messages.
            progress: told about the megabytes.

        Raises:
            InputMissing: nothing there, no answer; offline and not in the cache.
            InputError: no access, empty, larger than the limits.
            OutputError: the cache cannot be written.
        """
        path = self.place(url)
        self._used.add(path)
        if self.settings.offline:
            if self._known(url) is None:
                raise self._absent(url, key)
            return self._touched(path)
        with _writing(path), filelock.FileLock(_beside(path, ".lock")):
            if not self._fresh(url, key):
                self._download(url, key, path, progress)
        return self._touched(path)

    def piece(self, url: str, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """An object of a store, or a range of it, kept for ever: chunks of a Zarr array do not change.

        Returns:
            Its bytes; None where the server has no such object.

        Raises:
            InputMissing, InputError, OutputError: as `fetch`.
        """
        path = self.place(url)
        path = (
            path if start == 0 and end is None else path.with_name(f"{path.name}@{start}-{'' if end is None else end}")
        )
        return self.kept(path, url, key, start, end)

    def kept(
        self, path: Path, url: str, key: str, start: int, end: int | None, known: Identity | None = None
    ) -> bytes | None:
        """As `piece`, kept in a file of its own, and of the version `known`; one of another length comes again."""
        size = None if end is None or start < 0 else end - start
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            if size is None or len(data) == size:
                return data
        if self.settings.offline:
            raise self._absent(url, key)
        try:
            data = self.server.part(url, key, start, end, known)
        except FileNotFoundError:
            return None
        self._room(len(data), url, key)
        with _writing(path):
            _put(path, data, sync=len(data) != size)
        return data

    def version(self, path: Path) -> dict[str, Any] | None:
        """What is known of a file of the cache: URL, size, ETag, SHA-256; None where nothing is."""
        try:
            facts: dict[str, Any] = json.loads(_beside(path, ".json").read_text())
        except (OSError, ValueError):
            return None
        return facts

    def _known(self, url: str) -> Identity | None:
        """The version in the cache, where it is whole."""
        path = self.place(url)
        facts = self.version(path)
        if facts is None or facts.get("url") != url or not path.is_file() or path.stat().st_size != facts.get("size"):
            return None
        return Identity(facts["size"], facts.get("etag"), facts.get("modified", 0))

    def _fresh(self, url: str, key: str) -> bool:
        """Whether the version in the cache is the server's, or the best that can be had."""
        known = self._known(url)
        if known is None:
            return False
        try:
            return known.known and not self.server.changed(url, known)
        except FileNotFoundError:  # many servers keep the last days alone
            log.info("%s: not there any more; the copy in the cache is used", url)
            return True
        except (BaseError, OSError) as error:
            final(error, url, key)
            log.warning("%s: %s; the copy in the cache is used", url, in_words(error))
            return True

    def _download(self, url: str, key: str, path: Path, progress: Progress) -> None:
        part, marks = _beside(path, ".part"), _beside(path, ".part.json")
        number, most = 0, part.stat().st_size if part.exists() else 0
        while True:
            try:
                identity = self._go_on(url, key, part, marks, progress)
                break
            except NotSupportedError:  # no ranges here: from the beginning
                part.unlink(missing_ok=True)
                last: Exception = InterruptedError("the connection was cut, and the server gives no part of a file")
            except (BaseError, FileNotFoundError, PermissionError, InterruptedError) as error:
                final(error, url, key)
                last = error
                if in_words(error) == _NO_SUCH_PART:
                    part.unlink(missing_ok=True)
            have = part.stat().st_size if part.exists() else 0
            number, most = 0 if have > most else number + 1, max(have, most)
            if number >= self.settings.attempts:
                raise unanswered(last, url, key, self.settings)
            pause(number, last, url, self.settings)
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        _beside(path, ".json").unlink(missing_ok=True)  # first: a kill in between leaves no mark of another file
        part.replace(path)
        write_json(_beside(path, ".json"), {"url": url, **asdict(identity), "sha256": sha256})
        marks.unlink(missing_ok=True)

    def _go_on(self, url: str, key: str, part: Path, marks: Path, progress: Progress) -> Identity:
        """One attempt: from where the last one was cut, if the version is the same; returns it when all is there."""
        start = part.stat().st_size if part.exists() and marks.exists() else 0
        known = _read_identity(marks) if start else None
        if known is None or not known.known or start > known.size:
            start = 0
        if known is not None and start == known.size:  # all had come
            return known
        identity, pieces = self.server.get(url, start)
        if start and identity != known:
            log.info("%s: the file has changed, it is fetched from the beginning", url)
            start, (identity, pieces) = 0, self.server.get(url)
        self._allowed(identity, url, key, start)
        if not start:
            part.unlink(missing_ok=True)
            write_json(marks, asdict(identity))
        with part.open("ab") as file:
            for piece in pieces:
                file.write(piece)
                progress(f"fetching {url.rpartition('/')[2]} [MB]", file.tell() // 10**6, identity.size // 10**6)
        size = part.stat().st_size
        if size > identity.size:
            part.unlink()
        if size != identity.size:
            raise InterruptedError(f"{size} bytes came, {identity.size} were announced")
        return identity

    def _allowed(self, identity: Identity, url: str, key: str, have: int) -> None:
        if identity.size == 0:
            raise InputError("the file is empty", file=url, key=key)
        if identity.size > self.settings.file_gib * _GIB:
            what = (
                f"the file has {identity.size / _GIB:.1f} GiB, more than remote.file_gib ({self.settings.file_gib:g})"
            )
            raise InputError(what, file=url, key=key, hint="raise remote.file_gib")
        self._room(identity.size - have, url, key)

    def _room(self, more: int, url: str, key: str) -> None:
        """Remove what was longest not used until there is room; InputError where that is not enough."""
        limit = self.settings.cache_gib * _GIB
        if self._size is None:
            self._size = sum(size for _, size, _ in self._files())
        if self._size + more > limit:
            files = sorted(self._files())
            self._size = sum(size for _, size, _ in files)
            for _, size, path in files:
                if self._size + more <= limit:
                    break
                if path not in self._used and not _is_mark(path):
                    path.unlink(missing_ok=True)
                    self._size -= size
        if self._size + more > limit:
            held = (self._size + more) / _GIB
            what = f"the cache would hold {held:.2f} GiB, more than remote.cache_gib ({self.settings.cache_gib:g})"
            raise InputError(what, file=url, key=key, hint="raise remote.cache_gib, or read fewer files in one run")
        self._size += more

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Last use, size and path of everything."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                try:
                    facts = path.stat()
                except FileNotFoundError:
                    continue
                yield facts.st_atime, facts.st_size, path

    def _absent(self, url: str, key: str) -> InputMissing:
        hint = "set remote.offline: false where there is a network"
        return InputMissing("the file is not in the cache, and remote.offline is set", file=url, key=key, hint=hint)

    def _touched(self, path: Path) -> Path:
        try:
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except OSError as error:  # a cache that only others may write
            log.debug("%s: %s", path, error)
        return path


def _is_mark(path: Path) -> bool:
    """Whether a file is small and tells of another: what a store of chunks has under a dot is its metadata."""
    return path.suffix == ".remote" or (path.name.startswith(".") and path.suffix in (".json", ".lock"))


def _put(path: Path, data: bytes, *, sync: bool) -> None:
    """Write what can be fetched again, by a rename; nobody looks for what dead writers left: `_room` removes it.

    Args:
        path: its place.
        data: all of it.
        sync: whether it has to be on the disk first: where nobody knows its length, a file that lost its end when the
            power failed looks whole.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def _read_identity(path: Path) -> Identity | None:
    try:
        facts = json.loads(path.read_text())
        return Identity(int(facts["size"]), facts["etag"], int(facts["modified"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A folder for `path`; what the disk refuses becomes an OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except StormdaError:
        raise
    except OSError as error:
        hint = "check permissions and room on the disk, or set remote.cache"
        raise OutputError(f"the cache cannot be written: {error.strerror or error}", file=path, hint=hint) from error
