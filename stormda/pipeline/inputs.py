"""Where the inputs of a stage are: files of this machine, and URLs, whose files are fetched into the run's cache."""

__all__ = ["announced", "cache_of", "located", "origin", "resolver", "texts_of", "to_fetch"]

import fnmatch
import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stormda.config import Config, GriddedSource, SourceConfig
from stormda.errors import ConfigError, InputMissing, StormdaError
from stormda.sources.cache import Cache, Known
from stormda.sources.files import expand
from stormda.sources.urls import check_url, filled, is_url
from stormda.types import Progress, silent

_ZARR = ("zarr.json", ".zmetadata", ".zgroup")  # the root of a store has one of them
_ASKED = 100  # files whose size is asked for, of one source


def cache_of(config: Config) -> Cache:
    """The cache of a run."""
    return Cache(config.below_run(config.remote.cache), config.remote)


def texts_of(config: Config, source: GriddedSource | SourceConfig, now: np.datetime64 | None = None) -> list[str]:
    """The texts of a source's `files` with its dates and sites filled in."""
    now = np.datetime64("now", "s") if now is None else now
    return filled(source.files, source.dates, source.sites if isinstance(source, SourceConfig) else (), now)


def located(
    config: Config,
    texts: Sequence[str],
    *,
    key: str,
    folders: bool = False,
    lazy: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """The files of this machine that the texts name; those at URLs are fetched first.

    Args:
        config: the run.
        texts: paths and URLs, dates filled in.
        key: configuration key, for messages.
        folders: whether they are Zarr stores: a folder of the cache stands for one at a URL, nothing is fetched yet.
        lazy: whether a note in the cache stands for a file at a URL, of which what is read comes when it is read.
        progress: told about downloads.

    Raises:
        InputMissing: a file is not there, no server answers.
        InputError: a file is empty or no file, no access, larger than the limits.
        ConfigError: a URL that cannot be read.
        OutputError: the cache cannot be written.
    """
    cache = cache_of(config)
    found: list[Path] = []
    for text in texts:
        if not is_url(text):
            found += expand([text], config.path, key=key, folders=folders)
            continue
        check_url(text, key)
        if folders:
            from stormda.sources.remote_zarr import stand_in  # Brings zarr, which an idle cycle does without.

            found.append(stand_in(cache, text))
            continue
        if lazy:
            from stormda.sources.remote_file import lazy_file

            found += [lazy_file(cache, url, key) for url in _there(cache, text, key)]
            continue
        found += [cache.fetch(url, key, progress) for url in _there(cache, text, key)]
    return list(dict.fromkeys(found))


def resolver(config: Config) -> Callable[[str], Path]:
    """What turns a text of the configuration into a path: one at a URL is fetched into the cache."""
    cache = cache_of(config)

    def find(text: str) -> Path:
        if not is_url(text):
            return config.path(text)
        check_url(text, "files")
        return cache.fetch(text, "files")

    return find


def announced(
    config: Config, texts: Sequence[str], *, key: str, folders: bool = False
) -> tuple[list[Path], list[Known]]:
    """As `located`, but nothing is fetched: files of this machine, and what servers say of the others."""
    cache = cache_of(config)
    local = [p for text in texts if not is_url(text) for p in expand([text], config.path, key=key, folders=folders)]
    known: list[Known] = []
    for text in (t for t in texts if is_url(t)):
        check_url(text, key)
        if folders:
            known.append(_store(cache, text, key))
            continue
        for url in _there(cache, text, key):
            known.append(cache.look(url, key) if len(known) < _ASKED else Known(url, None, False))
    return list(dict.fromkeys(local)), known


def to_fetch(known: Sequence[Known]) -> str:
    """What is told of files at URLs before they are fetched."""
    new = [k for k in known if not k.cached]
    if not known:
        return ""
    size = sum(k.size for k in new if k.size is not None)
    more = " and more" if any(k.size is None for k in new) else ""
    return f"{len(new)} of {len(known)} to fetch, {size / 1e6:.1f} MB{more}"


def origin(config: Config, path: Path) -> dict[str, Any] | None:
    """Where a file of the cache came from: URL, size, ETag, SHA-256; None for any other file."""
    cache = cache_of(config)
    return cache.version(path) if path.is_relative_to(cache.folder) else None


def _there(cache: Cache, text: str, key: str) -> list[str]:
    """The URLs that a text names: itself, or in a store that can be listed those that its wildcards match."""
    if not glob.has_magic(text):
        return [text]
    head = text[: next(i for i, c in enumerate(text) if c in "*?[")]
    if text.startswith("http"):
        raise ConfigError(
            "HTTP has no list of files", file=text, key=key, hint="no * in the URL, but %Y%m%d with dates"
        )
    if "/" in text[len(head) :]:
        raise ConfigError("a wildcard before the last /", file=text, key=key, hint="wildcards in the file name alone")
    if cache.settings.offline:
        folder = cache.place(head + "x").parent
        base = head.rpartition("/")[0]
        names = sorted(p.name for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))
        urls = [f"{base}/{name}" for name in names]
    else:
        urls = cache.server.names(head, key)
    matches = [url for url in urls if fnmatch.fnmatchcase(url, text)]
    if not matches:
        raise InputMissing("no file matches", file=text, key=key)
    return matches


def _store(cache: Cache, url: str, key: str) -> Known:
    """Whether there is a Zarr store at a URL; how much of it is read nobody knows yet."""
    first: StormdaError | None = None
    for name in _ZARR:
        try:
            cache.look(f"{url.rstrip('/')}/{name}", key)
            return Known(url, None, False)
        except InputMissing as error:
            first = first or error
    assert first is not None
    raise InputMissing("there is no Zarr store", file=url, key=key, hint=first.what)
