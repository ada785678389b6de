"""A server of files on this machine, which can be told to fail: HTTP with ranges and versions, and S3's list."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class FarAway:
    """The folder that is served, what goes wrong, and what was asked.

    `faults` by path, a list that is used up from its front: `500`, `429`, `403` (answers), `cut:N` (the connection ends
    after N bytes of the body), `slow:S` (s before the answer), `short:N` (announces N bytes too many), `change` (the
    file gets another content after this answer was cut in its middle).
    """

    root: Path
    url: str = ""
    ranges: bool = True
    etags: bool = True
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    sent: Counter[str] = field(default_factory=Counter)  # bytes of bodies, by path

    def put(self, name: str, data: bytes) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"{self.url}/{name}"


@contextmanager
def serving(root: Path) -> Iterator[FarAway]:
    world = FarAway(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, world)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    world.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(self: BaseHTTPRequestHandler, world: FarAway) -> None:
    parts = urlsplit(self.path)
    name = unquote(parts.path).lstrip("/")
    asked = self.headers.get("Range", "")
    world.asked.append((self.command, name, asked))
    if "list-type" in parts.query:
        send(self, 200, listed(world, name.strip("/"), parse_qs(parts.query)), {"Content-Type": "application/xml"})
        return
    fault = world.faults[name].pop(0) if world.faults.get(name) else ""
    kind, _, amount = fault.partition(":")
    if kind == "slow":
        time.sleep(float(amount))
    if kind.isdigit():
        send(self, int(kind), b"<html>no</html>", {})
        return
    path = world.root / name
    if not path.is_file():
        send(self, 404, b"no", {})
        return
    data = path.read_bytes()
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    headers = {"ETag": etag} if world.etags else {}
    if world.etags and self.headers.get("If-None-Match") == etag:
        send(self, 304, b"", headers)
        return
    status, body = 200, data
    if asked and world.ranges:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else len(data) - int(last)
        if start >= len(data):
            send(self, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        status, body = 206, data[start:stop]
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    length = len(body) + (int(amount) if kind == "short" else 0)
    if kind == "change":
        path.write_bytes(bytes(reversed(data)))
    cut = int(amount) if kind == "cut" else len(data) // 2 if kind == "change" else None
    send(self, status, body, headers, length=length, cut=cut)
    if self.command == "GET":
        world.sent[name] += len(body if cut is None else body[:cut])


def send(
    self: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, str],
    length: int | None = None,
    cut: int | None = None,
) -> None:
    length = len(body) if length is None else length
    self.send_response(status)
    for key, value in headers.items():
        self.send_header(key, value)
    if status != 304:
        self.send_header("Content-Length", str(length))
    self.end_headers()
    if self.command == "HEAD" or status == 304:
        return
    try:
        self.wfile.write(body if cut is None else body[:cut])
        self.wfile.flush()
    except OSError:
        self.close_connection = True
    if cut is not None or length != len(body):
        self.close_connection = True


def listed(world: FarAway, bucket: str, query: dict[str, list[str]]) -> bytes:
    """ListObjectsV2 of a bucket, a folder of the root."""
    prefix, base = query.get("prefix", [""])[0], world.root / bucket
    keys = sorted(p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file())
    keys = [k for k in keys if k.startswith(prefix) and "/" not in k[len(prefix) :]]
    rows = "".join(
        f"<Contents><Key>{escape(k)}</Key><Size>{(base / k).stat().st_size}</Size>"
        f"<LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>x</ETag></Contents>"
        for k in keys
    )
    text = f"<ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
    return ('<?xml version="1.0" encoding="UTF-8"?>' + text).encode()
