"""A page in a headless browser: what it looks like from inside, at a width.

The page is put into a frame of that width, since browsers do not make windows as narrow as a
phone's. A script that is added to it tells the outer page what it finds; the outer page writes it
down, and the browser prints the outer page.
"""

import html
import json
import re
import shutil
import subprocess

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

PROBE = """
<script>
const problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("load", () => setTimeout(() => {
  const wide = [...document.querySelectorAll("body *")].filter((node) =>
    node.getBoundingClientRect().right > innerWidth + 1
    && !node.closest(".scroll") && !node.closest("svg"));
  const drawn = [...document.querySelectorAll(".chart")];
  const size = (node) => parseFloat(getComputedStyle(node).fontSize);
  parent.postMessage(JSON.stringify({
    problems,
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    wide: wide.map((node) => node.tagName + "." + node.className).slice(0, 5),
    charts: drawn.length,
    drawn: drawn.filter((node) => node.querySelector(".main-svg .trace")).length,
    charts_wide: drawn.filter((node) => node.getBoundingClientRect().width > innerWidth).length,
    smallest_text: Math.min(...[...document.querySelectorAll("p, td, li, summary")].map(size)),
    smallest_in_charts: Math.min(...[...document.querySelectorAll(".chart svg text")]
      .filter((node) => node.textContent.trim()).map(size)),
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    words: document.body.innerText.length,
  }), "*");
}, 300));
</script>
"""

OUTER = """<!doctype html><meta charset="utf-8"><style>body { margin: 0; background: #777 }
iframe { border: 0; width: %dpx; height: %dpx }</style>
<pre id="told" hidden></pre>
<script>addEventListener("message", (event) => { told.textContent = event.data; });</script>
<iframe src="inner.html"></iframe>
"""


def browser():
    """The program to start, or None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _start(folder, page, width, height, dark, *options):
    (folder / "inner.html").write_text(
        page.replace("<head>", "<head>" + PROBE, 1), encoding="utf-8"
    )
    (folder / "outer.html").write_text(OUTER % (width, height), encoding="utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=15000",
        f"--window-size={max(width, 600)},{height}",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        *options, (folder / "outer.html").as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def look(folder, page, width, dark=False):
    """What the page says of itself: problems, sizes, charts.

    Parameters
    ----------
    folder : Path
        For files of its own.
    page : str
        HTML.
    width : int
        In pixels.
    dark : bool, default=False
    """
    done = _start(folder, page, width, 900, dark, "--dump-dom")
    found = re.search(r'<pre id="told"[^>]*>(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page told nothing: {done.stdout[-300:]}{done.stderr[-600:]}"
    return json.loads(html.unescape(found[1]))


def shoot(folder, page, width, height, path, dark=False):
    """Write a picture of the page."""
    _start(folder, page, width, height, dark, f"--screenshot={path}")
