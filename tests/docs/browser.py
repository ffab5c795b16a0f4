"""A browser without a window, driven through its own debugging pipe; nothing to install but it.

Chromium reads commands from file 3 and writes answers to file 4, as JSON texts that end with a
zero byte (``--remote-debugging-pipe``, Chrome DevTools Protocol).
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

__all__ = ["Browser", "find_browser"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser():
    """Return the path of Chromium or Chrome, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium.

    Attributes
    ----------
    problems : list of str
        Uncaught errors of scripts, errors on the console and failed requests since the last
        `open`.
    """

    def __init__(self, path=None):
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        reads, their_writes = os.pipe()
        their_reads, writes = os.pipe()
        # The shell puts the two ends where Chromium looks for them.
        command = f'exec 3<&{their_reads} 4>&{their_writes}; exec "$@"'
        self._process = subprocess.Popen(
            [
                "/bin/bash", "-c", command, "browser", path or find_browser(),
                "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
                "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
                f"--user-data-dir={self._home.name}",
            ],
            pass_fds=(their_reads, their_writes),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(their_reads)
        os.close(their_writes)
        self._in, self._out = os.fdopen(reads, "rb"), os.fdopen(writes, "wb")
        self._number, self._events, self.problems = 0, [], []
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        with contextlib.suppress(OSError):
            self._call("Browser.close")
        self._process.wait(120)
        self._in.close()
        with contextlib.suppress(OSError):
            self._out.close()
        self._home.cleanup()

    def _receive(self):
        text = bytearray()
        while (byte := self._in.read(1)) not in (b"\0", b""):
            text += byte
        if not text:
            raise OSError("the browser has gone")
        return json.loads(text)

    def _call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._notice(answer)

    def _notice(self, event):
        method, told = event.get("method"), event.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.problems.append(f"{details['text']} {thrown}".strip())
        elif method == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.problems.append(" ".join(str(part.get("value")) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            entry = told["entry"]
            self.problems.append(f"{entry['text']} {entry.get('url', '')}".strip())

    def shape(self, width, height, *, dark=False):
        """Set the window, as a phone or a desktop has it."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url, seconds=120):
        """Open a page and wait until it has loaded."""
        self.problems.clear()
        self._events.clear()
        self._call("Page.navigate", url=url)
        end = time.monotonic() + seconds
        while "Page.loadEventFired" not in self._events:
            if time.monotonic() > end:
                raise TimeoutError(url)
            self._notice(self._receive())
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def run(self, script):
        """Return the value of a JavaScript expression, of a promise when it is kept."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["text"] + ": " + script)
        return answer["result"].get("value")

    def picture(self, path, *, whole=True):
        """Write a PNG of the page, or of what the window shows of it."""
        clip = {}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            size = {name: size[name] for name in ("x", "y", "width", "height")}
            clip = {"captureBeyondViewport": True, "clip": size | {"scale": 1}}
        shot = self._call("Page.captureScreenshot", **clip)
        path.write_bytes(base64.b64decode(shot["data"]))
