"""A real browser for the tests: Debian's chromium without a window, spoken to over its debugging pipe.

The pipe needs no driver, no port and no package: messages are JSON, each ended by a zero byte (the DevTools protocol
with `--remote-debugging-pipe`). What the debugger evaluates runs in spite of a page's policy: pages stay as they are.
"""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # a page that asks for the network is found out
    "--remote-debugging-pipe",
)
TIMEOUT_S = 60.0
# What is wider than the page, and every image that did not come.
_LOOK = """((width) => {
  const wide = [...document.querySelectorAll('body *')].filter((each) => {
    const box = each.getBoundingClientRect();
    const scrolls = (up) => up && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX) || scrolls(up.parentElement));
    return box.width && (box.right > width + 1 || box.left < -1) && !scrolls(each.parentElement);
  });
  return {
    width: document.documentElement.scrollWidth,
    wide: wide.map((each) => each.outerHTML.slice(0, 120)),
    images: document.images.length,
    broken: [...document.images].filter((each) => !each.complete || !each.naturalWidth).map((each) => each.outerHTML.slice(0, 120)),
  };
})(WIDTH)"""  # noqa: E501  # another language


def missing() -> str:
    """Says what a test that needs the browser lacks; empty where nothing does."""
    return "" if shutil.which("chromium") else "chromium is not installed: apt-get install chromium"


@dataclass(frozen=True)
class Look:
    """What a page shows at one width, in CSS pixels.

    Attributes:
        complaints: errors and warnings of the browser's console.
        wide: elements that reach beyond the window.
        broken: images that did not load.
    """

    width: int
    images: int
    wide: tuple[str, ...]
    broken: tuple[str, ...]
    complaints: tuple[str, ...]


@dataclass
class Browser:
    """One tab of a running browser."""

    reader: int
    writer: int
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    loaded: int = 0
    _held: bytes = b""
    _number: int = 0

    def look(self, page: Path, *, width: int, height: int = 900, is_dark: bool = False) -> Look:
        """Opens a page in a window of that size, scrolls it through, and says what there is to see."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.complaints.clear()
        before = self.loaded
        self.call("Page.navigate", {"url": page.resolve().as_uri()})
        self._until(lambda: self.loaded > before)
        self.evaluate("document.images.length && [...document.images].forEach((each) => { each.loading = 'eager' })")
        self.evaluate("Promise.all([...document.images].map((each) => each.decode().catch(() => 0)))")
        seen = self.evaluate(_LOOK.replace("WIDTH", str(width)))
        return Look(seen["width"], seen["images"], tuple(seen["wide"]), tuple(seen["broken"]), tuple(self.complaints))

    def evaluate(self, script: str) -> Any:
        """Returns the JSON value of an expression in the page; a promise is waited for."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Presses and releases a key, named as in KeyboardEvent.key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", {"type": kind, "key": key})

    def call(self, method: str, parameters: Mapping[str, object] | None = None) -> Any:
        """Asks the browser; returns its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        answers: list[Any] = []

        def is_answered() -> bool:
            return any(each.get("id") == self._number for each in answers)

        self._until(is_answered, answers)
        answer = next(each for each in answers if each.get("id") == self._number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _until(self, holds: Any, answers: list[Any] | None = None) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not holds():
            ready, _, _ = select.select([self.reader], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self.reader, 1 << 20)
            assert data, "the browser is gone"
            *whole, self._held = (self._held + data).split(b"\0")
            for each in map(json.loads, whole):
                self._note(each)
                if answers is not None:
                    answers.append(each)

    def _note(self, message: Any) -> None:
        match message.get("method"):
            case "Page.loadEventFired":
                self.loaded += 1
            case "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if message["params"]["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(message["params"]["args"]))
            case "Log.entryAdded" if message["params"]["entry"]["level"] in ("error", "warning"):
                self.complaints.append(message["params"]["entry"]["text"])


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Starts the browser with an empty profile; yields its only tab."""
    program = shutil.which("chromium")
    assert program, missing()
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    command = ["bash", "-c", script, "bash", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(theirs_in)
    os.close(theirs_out)
    browser = Browser(ours_in, ours_out)
    try:
        tab = next(each for each in browser.call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        attached = browser.call("Target.attachToTarget", {"targetId": tab["targetId"], "flatten": True})
        browser.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            browser.call(f"{domain}.enable")
        yield browser
    finally:
        process.terminate()
        process.wait(timeout=TIMEOUT_S)
        os.close(ours_in)
        os.close(ours_out)
