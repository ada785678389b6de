"""A page in a headless Chromium: what it asks for, what it says, how it looks.

Spoken to by the DevTools protocol over two pipes (`--remote-debugging-pipe`: one JSON message, then a zero byte), so no
port is opened and nothing has to be installed besides the browser.
"""

import base64
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

PATIENCE = 120.0  # s for an answer: the machine may be busy
_SETTINGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
    "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """A Chromium of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no Chromium is installed: reports are not looked at")
        # The browser reads its file descriptor 3 and writes to 4; ours are moved there behind a shell.
        (read, self._to), (self._from, write) = os.pipe(), os.pipe()
        words = [program, *_SETTINGS, f"--user-data-dir={folder}", "about:blank"]
        line = f'exec 3<&{read} 4>&{write}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", line, *words], pass_fds=(read, write), stderr=subprocess.DEVNULL, start_new_session=True
        )
        os.close(read)
        os.close(write)
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.ask("Browser.close")
            self._process.wait(30)
        except (OSError, subprocess.TimeoutExpired, AssertionError):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come in between are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer}"
                return dict(answer["result"])
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(end - time.monotonic(), 0.0))
            data = os.read(self._from, 1 << 16) if ready else b""
            assert data, "the browser does not answer"
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(line))

    def open(self, page: Path, *, width: int = 1300, height: int = 900) -> None:
        """Load a file and wait until all of it is there."""
        self._session, self.events = "", []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.events = []
        self.ask("Page.navigate", url=page.absolute().as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._read())

    def requested(self) -> list[str]:
        """Addresses that the page asked for since it was opened, but for pictures that it holds itself."""
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def said(self) -> list[str]:
        """What stood in the console: messages, errors and exceptions."""
        spoken = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(e["params"]) for e in self.events if e.get("method") in spoken]

    def value(self, expression: str) -> Any:
        """Of a line of JavaScript."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> np.ndarray[Any, Any]:
        """All of the page, [H, W, 3], 0 to 1."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        return np.asarray(matplotlib.image.imread(io.BytesIO(base64.b64decode(taken)), format="png"))[..., :3]

    def printed(self) -> bytes:
        """The page as it is printed, a PDF file."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=False)["data"])
