"""Asking servers: HTTP(S) and object stores (S3, Google, Azure) through one small interface, with retries.

What can pass - a lost connection, a time limit, an answer of 5xx or 429 - is tried again after b, 2b, 4b, ... seconds,
up to a minute, each between half and one and a half of that, so that many who lost a server do not come back together
(exponential back-off with jitter). What cannot - nothing there (404), no access (401,
403) - is an error at once.

Credentials are those of the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`,
`AZURE_STORAGE_ACCOUNT_NAME`, ...; for HTTP ~/.netrc); where there are none, requests are anonymous.
"""

__all__ = ["Identity", "Server", "final", "in_words", "pause", "retried", "unanswered"]

import logging
import netrc
import os
import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    NotModifiedError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

from stormda.config import RemoteConfig
from stormda.errors import InputError, InputMissing

T = TypeVar("T")
log = logging.getLogger(__name__)

_LONGEST_PAUSE = 60.0  # s
_PIECE = 1 << 16  # bytes handed on at once: so many may be lost where a connection is cut
_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_CLIENT_ID"),
}


@dataclass(frozen=True)
class Identity:
    """What tells one version of a file from another.

    Args:
        size: bytes.
        etag: the server's mark of the version; None where it gives none.
        modified: of the last change, seconds since 1970; 0 where the server does not tell.
    """

    size: int
    etag: str | None
    modified: int

    @property
    def known(self) -> bool:
        """Whether more than the size speaks for it being the same."""
        return self.etag is not None or self.modified > 0


class Server:
    """Files at URLs.

    Args:
        settings: time limits.
    """

    def __init__(self, settings: RemoteConfig) -> None:
        self.settings = settings

    def look(self, url: str, key: str) -> Identity:
        """What is there, without fetching it; raises InputMissing, InputError."""
        store, name = self._store(url)
        return retried(lambda: _identity(obstore.head(store, name)), url, key, self.settings)

    def get(self, url: str, start: int = 0) -> tuple[Identity, Iterator[memoryview]]:
        """One attempt at the bytes from `start` on; raises what obstore raises."""
        store, name = self._store(url)
        answer = obstore.get(store, name, options={"range": {"offset": start}} if start else None)
        return _identity(answer.meta), (memoryview(piece) for piece in answer.stream(min_chunk_size=_PIECE))

    def changed(self, url: str, known: Identity) -> bool:
        """One attempt to learn whether a file is another than `known`; raises what obstore raises."""
        store, name = self._store(url)
        try:
            answer = obstore.get(store, name, options={"if_none_match": known.etag} if known.etag else None)
        except NotModifiedError:
            return False
        return _identity(answer.meta) != known

    def part(self, url: str, key: str, start: int, end: int | None, known: Identity | None = None) -> bytes:
        """The bytes start..end-1 of a small object, to its end where there is none; a negative start counts from it.

        Args:
            url, key: of the object, and for messages.
            start, end: of the bytes.
            known: the version that they have to be of; None: any.

        Raises:
            FileNotFoundError: there is no such object.
            InputError, InputMissing: no access, no answer, another version.
        """
        store, name = self._store(url)
        how: Any = {"suffix": -start} if start < 0 else (start, end) if end is not None else {"offset": start}

        def read() -> bytes:
            whole = start == 0 and end is None
            answer = obstore.get(store, name, options=None if whole else {"range": how})
            if known is not None and _identity(answer.meta) != known:
                raise InputMissing("the file has changed while it was read", file=url, key=key, hint="run it again")
            return bytes(answer.bytes())

        return retried(read, url, key, self.settings, absent=True)

    def names(self, url: str, key: str) -> list[str]:
        """The URLs that begin with this one, in a store that can be listed, sorted; raises InputError, InputMissing."""
        store, prefix = self._store(url)
        base = url.removesuffix(urlsplit(url).path.lstrip("/"))
        # The prefix of a list is a folder to obstore; what its name goes on with is chosen here.
        folder = prefix.rpartition("/")[0]

        def listed() -> list[str]:
            found = obstore.list_with_delimiter(store, prefix=folder or None)["objects"]
            return sorted(base + o["path"] for o in found if o["path"].startswith(prefix))

        return retried(listed, url, key, self.settings)

    def _store(self, url: str) -> tuple[Any, str]:
        parts = urlsplit(url, allow_fragments=False)
        return _opened(parts.scheme, parts.netloc, self.settings.timeout), unquote(parts.path.lstrip("/"))


@lru_cache(maxsize=64)
def _opened(scheme: str, host: str, timeout: float) -> Any:
    """A client of one server or bucket. It does not retry: `retried` does, and goes on where a download was cut."""
    client: Any = {
        "timeout": timedelta(seconds=timeout),
        "connect_timeout": timedelta(seconds=min(timeout, 20.0)),
        "allow_http": True,  # a URL says http:// where it means it; endpoints are the environment's
    }
    retry: Any = {"max_retries": 0}
    anonymous = not any(os.environ.get(name) for name in _CREDENTIALS.get(scheme, ()))
    if scheme in ("http", "https"):
        if token := _basic(host):
            client["default_headers"] = {"authorization": token}
        return HTTPStore.from_url(f"{scheme}://{host}", client_options=client, retry_config=retry)
    if scheme == "s3":
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return S3Store(host, region=region, skip_signature=anonymous, client_options=client, retry_config=retry)
    if scheme == "gs":
        return GCSStore(host, skip_signature=anonymous, client_options=client, retry_config=retry)
    return AzureStore(host, skip_signature=anonymous, client_options=client, retry_config=retry)


def _basic(host: str) -> str | None:
    """Basic authentication from ~/.netrc (or $NETRC), where it names the host and is not for all of them."""
    try:
        found = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return None
    login = found.hosts.get(host) or found.hosts.get(host.partition(":")[0])
    return None if login is None else "Basic " + b64encode(f"{login[0]}:{login[2]}".encode()).decode()


def _identity(meta: Any) -> Identity:
    return Identity(int(meta["size"]), meta["e_tag"], int(meta["last_modified"].timestamp()))


def retried(attempt: Callable[[], T], url: str, key: str, settings: RemoteConfig, *, absent: bool = False) -> T:
    """What `attempt` gives, tried again while it fails and may succeed.

    Args:
        attempt: raises what obstore raises, or OSError.
        url, key: for messages.
        settings: attempts and pauses.
        absent: whether FileNotFoundError goes to the caller as it is.

    Raises:
        InputMissing: nothing there, or no answer after all attempts.
        InputError: no access.
    """
    for number in range(settings.attempts):
        try:
            return attempt()
        except (BaseError, OSError) as error:
            if absent and isinstance(error, FileNotFoundError):
                raise
            final(error, url, key)
            last = error
        if number + 1 < settings.attempts:
            pause(number, last, url, settings)
    raise unanswered(last, url, key, settings)


def pause(number: int, error: Exception, url: str, settings: RemoteConfig) -> None:
    """Wait before attempt `number` + 1."""
    seconds = min(settings.backoff * 2.0**number, _LONGEST_PAUSE) * random.uniform(0.5, 1.5)
    log.info("%s: %s; again in %.1f s", url, in_words(error), seconds)
    time.sleep(seconds)


def final(error: Exception, url: str, key: str) -> None:
    """Raise what another attempt would not change: nothing there, no access, not possible."""
    if isinstance(error, FileNotFoundError):
        raise InputMissing("the server has no such file", file=url, key=key) from error
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)):
        hint = "credentials come from the environment (AWS_ACCESS_KEY_ID, ...), for HTTP from ~/.netrc"
        raise InputError("the server denies access", file=url, key=key, hint=hint) from error
    if isinstance(error, NotSupportedError):
        raise InputError(f"the server cannot do what is needed ({in_words(error)})", file=url, key=key) from error


def unanswered(error: Exception, url: str, key: str, settings: RemoteConfig) -> InputMissing:
    """The error after all attempts: a scheduler may try later."""
    what = f"the server does not give the file, tried {settings.attempts} times: {in_words(error)}"
    return InputMissing(what, file=url, key=key, hint="try later; remote.attempts, remote.timeout")


def in_words(error: Exception) -> str:
    """The first line of an error of obstore, without the pages that servers send along."""
    text = str(error).split("\n")[0]
    if "status code: " in text:
        return "status " + text.partition("status code: ")[2].partition(":")[0].strip()
    return text.rpartition("Generic ")[2][:160] or type(error).__name__
