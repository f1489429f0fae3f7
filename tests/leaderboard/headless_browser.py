"""A Chromium without a window, driven over the pipe of its DevTools protocol; nothing but the browser is needed.

with Browser.start() as browser:
    page = browser.open(file, width=1280, height=800)
    page.evaluate("document.title")
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell")
ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--disable-default-apps", "--remote-debugging-pipe"),
)
PATIENCE = 30.0


def executable() -> str | None:
    """Where a browser is; None where none is installed. `CHROMIUM` in the environment names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One process of the browser; its pages share it."""

    def __init__(self, pid: int, to: int, answers: int) -> None:
        self._pid = pid
        self._to = to
        self._answers = answers
        self._received = b""
        self._calls = 0
        self.pages: dict[str, Page] = {}

    @classmethod
    @contextlib.contextmanager
    def start(cls) -> Iterator[Browser]:
        path = executable()
        assert path is not None
        with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
            commands, to = map(_beyond_ten, os.pipe())
            answers, back = map(_beyond_ten, os.pipe())
            actions = [
                (os.POSIX_SPAWN_DUP2, commands, 3),
                (os.POSIX_SPAWN_DUP2, back, 4),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ]
            argv = [path, *ARGUMENTS, f"--user-data-dir={folder}", "about:blank"]
            pid = os.posix_spawn(path, argv, os.environ, file_actions=actions, setpgroup=0)
            os.close(commands)
            os.close(back)
            browser = cls(pid, to, answers)
            try:
                yield browser
            finally:
                browser.end()

    def open(self, file: Path, *, width: int = 1280, height: int = 900, fragment: str = "", dark: bool = False) -> Page:
        """A new page of this size that has loaded `file`."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Page.navigate", url=file.as_uri() + fragment)
        page.wait_for("document.readyState === 'complete'")
        return page

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._next(until)
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            if (page := self.pages.get(answer.get("sessionId", ""))) is not None:
                page.events.append(answer)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select.select([self._answers], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise AssertionError("the browser has ended")
            self._received += part
        line, self._received = self._received.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        os.close(self._to)
        os.close(self._answers)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class Page:
    """One page. `events` are what it has told of itself: requests, console, exceptions."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, parameters, self._session)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as plain data."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"]["exception"].get("description", answer))
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until a JavaScript condition holds."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > until:
                raise TimeoutError(condition)
            self.evaluate("new Promise((done) => setTimeout(done, 10))")

    def click(self, selector: str) -> None:
        """With the mouse, where a user would: in the middle of what is visible of the first match."""
        point = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        """With the mouse."""
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def _middle(self, selector: str) -> tuple[float, float]:
        """Of the first match, which is scrolled into sight."""
        x, y = self.evaluate(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center', inline: 'center'}); const box = found.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def press(self, key: str) -> None:
        """One key: `Tab`, `Enter`, `Escape`, an arrow."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowDown": 40}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    @property
    def requests(self) -> list[str]:
        """Every address that was asked for."""
        sent = [event for event in self._told() if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    @property
    def complaints(self) -> list[str]:
        """Exceptions, everything on the console, and what the browser itself logs."""
        methods = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [json.dumps(event["params"]) for event in self._told() if event["method"] in methods]

    def _told(self) -> list[dict[str, Any]]:
        self.evaluate("0")  # what happened before has been told then
        return self.events

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))

    def print(self, file: Path) -> None:
        """As PDF, A4 in landscape."""
        size = {"landscape": True, "paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False}
        file.write_bytes(base64.b64decode(self.call("Page.printToPDF", **size)["data"]))


def _beyond_ten(descriptor: int) -> int:
    """The same pipe under a number that is none of those that the browser gets."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
