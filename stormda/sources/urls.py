"""URLs of the configuration: dates and sites filled in, and the place of each in the cache.

    https://HOST/%Y/%m/%d/{site}.nc      s3://BUCKET/%Y/%m/%d/{site}/{site}%Y%m%d_%H*

`%Y %m %d %H %M %j %y` are those of strftime(3), filled with each of the wanted times; `{site}` with each site. What is
left the same is named once, so that `every: 1h` with a pattern of days names a day. In stores that can be listed (s3,
gs, az) `*`, `?` and `[...]` in the last part of a key choose among what is there; HTTP has no list.

A URL never carries a secret: it is written into logs, provenance and resolved configurations. Queries and user names
are refused; credentials come from the environment.
"""

__all__ = ["SCHEMES", "check_url", "filled", "is_url", "local_name", "moments"]

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from stormda.config import Dates
from stormda.config.fields import is_url
from stormda.errors import ConfigError
from stormda.types import Array

SCHEMES = ("https", "http", "s3", "gs", "az")
_DIRECTIVES = "YmdHMjy"
_MOST = 100_000  # times of one source


def check_url(url: str, key: str) -> None:
    """Raise ConfigError where a URL cannot be read, or carries what is nobody's business."""
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"'{parts.scheme}://' is unknown", key=key, hint=f"one of {', '.join(SCHEMES)}")
    if parts.username is not None:
        hint = "remove it; credentials belong into the environment or ~/.netrc"
        raise ConfigError("a URL with a user name or password", file=shown, key=key, hint=hint)
    if parts.scheme in ("http", "https") and (parts.query or parts.fragment):
        hint = "give the address of the file itself, or fetch it first and name the copy"
        raise ConfigError("a URL with a query", file=shown, key=key, hint=hint)
    if not parts.netloc or not parts.path.strip("/"):
        raise ConfigError("the URL names no file", file=shown, key=key)
    if any(part == ".." for part in parts.path.split("/")):
        raise ConfigError("the URL leads upwards", file=shown, key=key)


def moments(dates: Dates, now: np.datetime64) -> Array:
    """The times that are wanted [T], datetime64[s]; raises ConfigError where they are too many."""
    if dates.recent is None:
        assert dates.start is not None and dates.end is not None
        start, end = dates.start, dates.end
    else:
        epoch = np.datetime64(0, "s")
        end = epoch + (now.astype("datetime64[s]") - epoch) // dates.every * dates.every
        start = end - dates.recent
    if (end - start) / dates.every > _MOST:
        raise ConfigError(f"more than {_MOST} times", key="dates.every", hint="a longer step, or a shorter period")
    return np.arange(start, end + np.timedelta64(1, "s"), dates.every).astype("datetime64[s]")


def filled(texts: Sequence[str], dates: Dates | None, sites: Sequence[str], now: np.datetime64) -> list[str]:
    """The texts with every time and site filled in, each once, in the order of texts, times, sites."""
    out: list[str] = []
    for text in texts:
        dated = [text]
        if dates is not None and re.search(f"%[{_DIRECTIVES}]", text):
            dated = [_at(text, t.item()) for t in moments(dates, now)]
        placed = sites if "{site}" in text and sites else [None]
        out += [d if s is None else d.replace("{site}", s) for d in dict.fromkeys(dated) for s in placed]
    return list(dict.fromkeys(out))


def _at(text: str, time: datetime) -> str:
    return re.sub(f"%[{_DIRECTIVES}]", lambda match: time.strftime(match[0]), text)


def local_name(url: str) -> PurePosixPath:
    """Where the cache keeps a URL: scheme, host and path as folders, odd characters replaced and told by a hash."""
    parts = urlsplit(url)
    names = [n for n in (parts.scheme, parts.netloc, *parts.path.split("/")) if n not in ("", ".", "..")]
    plain = [re.sub(r"[^\w.,+=@-]", "_", name)[:180] for name in names]
    if plain[2:] != names[2:]:
        plain[-1] = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}_{plain[-1]}"
    return PurePosixPath(*plain)
