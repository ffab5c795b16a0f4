"""The built site in a browser without a window, at the width of a phone and of a desktop.

`make docs` builds the site. Where sphinx and what it needs are installed, it is built or brought
up to date here, with warnings as errors; else these tests are skipped.
"""

import html.parser
import importlib.util
import os
import pathlib
import subprocess
import sys
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser, find_browser  # noqa: E402

pytestmark = pytest.mark.slow

NEEDED = (
    "click", "matplotlib", "myst_parser", "numpydoc", "PIL", "pydata_sphinx_theme", "sphinx",
    "sphinx_design", "sphinx_gallery",
)  # fmt: skip
WIDTHS = {"phone": (390, 844), "desktop": (1280, 800)}
# Contrast of text that WCAG 2.2 asks for (success criterion 1.4.3, level AA).
LEAST_CONTRAST = 4.5
# Pages that sphinx makes and nobody wrote.
MADE = {"genindex.html", "search.html", "py-modindex.html"}

# What the page needs to be looked at: folds open, pictures here.
PREPARE = """
(async () => {
  document.querySelectorAll('details').forEach(fold => fold.open = true);
  const pictures = [...document.images];
  pictures.forEach(picture => picture.loading = 'eager');
  await Promise.all(pictures.map(picture => picture.decode().catch(() => null)));
  return pictures.filter(picture => !picture.naturalWidth).map(picture => picture.src);
})()
"""
# Pictures that must be told in words; a thumbnail of the gallery stands beside its title.
TOLD = "article img:not(.sphx-glr-thumbcontainer img)"
# What sticks out of the window, beyond parts that scroll on their own.
OVERFLOW = """
document.documentElement.scrollWidth - document.documentElement.clientWidth
"""
# Texts of the article with their size, colour and the colour behind them.
TEXTS = """
(() => {
  const behind = element => {
    for (let node = element; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(color) && color !== 'transparent') return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const chosen = 'article p, article li, article td, article dd, article h1, article h2,'
    + ' article a, article summary, article pre, article pre span';
  const seen = new Map();
  for (const element of document.querySelectorAll(chosen)) {
    const words = [...element.childNodes].filter(node => node.nodeType === 3)
      .map(node => node.data.trim()).join(' ').trim();
    if (!words || !element.offsetParent || element.closest('svg')) continue;
    const style = getComputedStyle(element);
    const key = [style.color, behind(element), style.fontSize].join('|');
    if (!seen.has(key)) seen.set(key, [style.color, behind(element), parseFloat(style.fontSize),
      words.slice(0, 60)]);
  }
  return [...seen.values()];
})()
"""


@pytest.fixture(scope="module")
def site():
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"building the site needs {', '.join(missing)} (the extra `docs`)")
    target = ROOT / "docs" / "_build" / "html"
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", target],
        cwd=ROOT, check=True, timeout=900, env=os.environ,
    )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def browser():
    if find_browser() is None:
        pytest.skip("there is no Chromium or Chrome on this machine")
    if os.name != "posix":
        pytest.skip("the browser is driven through pipes that Windows does not have")
    with Browser() as browser:
        yield browser


def pages_of(site):
    """Return the pages of a site, by their names; templates of the theme are none."""
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return [name for name in names if not name.startswith("_")]


def channels(color):
    """Return red, green and blue of ``rgb(…)`` or ``rgba(…)``, from 0 to 1, and opacity."""
    parts = [float(part) for part in color[color.index("(") + 1 : -1].split(",")]
    return [part / 255 for part in parts[:3]], parts[3] if len(parts) > 3 else 1.0


def luminance(rgb):
    """Return the relative luminance of a colour, as WCAG 2.2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(color, background):
    """Return the contrast of two colours, from 1 to 21."""
    (rgb, opacity), (behind, _) = channels(color), channels(background)
    mixed = [opacity * c + (1 - opacity) * b for c, b in zip(rgb, behind, strict=True)]
    low, high = sorted((luminance(mixed), luminance(behind)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_definition():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_show_what_they_should(site, browser, width):
    browser.shape(*WIDTHS[width])
    wrong = []
    for name in pages_of(site):
        browser.open((site / name).as_uri())
        wrong += [f"{name}: {problem}" for problem in browser.problems]
        wrong += [f"{name}: no picture at {source}" for source in browser.run(PREPARE)]
        if (beyond := browser.run(OVERFLOW)) > 0:
            wrong.append(f"{name}: {beyond} pixels wider than the window")
        if name not in MADE and browser.run("document.querySelectorAll('h1').length") != 1:
            wrong.append(f"{name}: not exactly one title")
        if browser.run(f"[...document.querySelectorAll('{TOLD}')].some(shown => !shown.alt)"):
            wrong.append(f"{name}: a picture without words in its place")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read(site, browser, dark):
    browser.shape(*WIDTHS["phone"], dark=dark)
    wrong = set()
    for name in pages_of(site):
        if name in MADE:
            continue
        browser.open((site / name).as_uri())
        browser.run(PREPARE)
        for color, background, size, words in browser.run(TEXTS):
            if size < 12:
                wrong.add(f"{name}: {size} pixels: {words}")
            if contrast(color, background) < LEAST_CONTRAST:
                found = contrast(color, background)
                wrong.add(f"{name}: {color} on {background}, contrast {found:.1f}: {words}")
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("index.html", 2),
        ("ladder.html", 1),
        ("benchmarks.html", 1),
        ("auto_gallery/index.html", 8),
        *((f"course/{page.stem}.html", 1) for page in (ROOT / "docs/course").glob("[0-9]-*.md")),
    ],
)
def test_pages_that_live_by_their_pictures_have_them(site, browser, name, least):
    browser.shape(*WIDTHS["desktop"])
    browser.open((site / name).as_uri())
    browser.run(PREPARE)
    wide = "[...document.querySelectorAll('article img')].filter(i => i.clientWidth > 100).length"
    assert browser.run(wide) >= least


def test_results_of_a_lesson_are_folded_until_they_are_asked_for(site, browser):
    browser.shape(*WIDTHS["desktop"])
    browser.open((site / "course" / "2-chunk-size.html").as_uri())
    seen = "[...document.querySelectorAll('details.result img')].filter(i => i.checkVisibility())"
    assert browser.run(f"{seen}.length") == 0
    browser.run("document.querySelectorAll('details.result > summary').forEach(s => s.click())")
    assert browser.run(f"{seen}.length") >= 1


def test_a_phone_can_open_the_navigation(site, browser):
    browser.shape(*WIDTHS["phone"])
    browser.open((site / "quickstart.html").as_uri())
    link = (
        "[...document.querySelectorAll('a')].some(a => {"
        " const place = a.getBoundingClientRect();"
        " return a.textContent.trim() === 'The course' && a.checkVisibility({visibilityProperty:"
        " true}) && place.width > 0 && place.left >= 0 && place.right <= innerWidth })"
    )
    assert not browser.run(link)
    browser.run("document.querySelector('.primary-toggle').click()")
    assert browser.run(f"new Promise(done => setTimeout(() => done({link}), 600))")


class Links(html.parser.HTMLParser):
    """Collects the targets of links and the places that they may lead to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value)
            elif (tag, name) in {
                ("a", "href"),
                ("img", "src"),
                ("link", "href"),
                ("script", "src"),
            }:
                self.targets.append(value)


def test_internal_links_resolve(site):
    pages = {name: Links((site / name).read_text(encoding="utf-8")) for name in pages_of(site)}
    broken, checked = [], 0
    for name, page in pages.items():
        for target in page.targets:
            parts = urllib.parse.urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            path = (site / name).parent / urllib.parse.unquote(parts.path)
            path = pathlib.Path(os.path.normpath(path)) if parts.path else site / name
            there = path.relative_to(site).as_posix() if path.is_relative_to(site) else None
            if there is None or not path.is_file():
                broken.append(f"{name}: {target}")
            elif parts.fragment and there in pages and there not in MADE:
                if urllib.parse.unquote(parts.fragment) not in pages[there].places:
                    broken.append(f"{name}: {target}: no such place")
    assert checked > 500
    assert not broken, "\n".join(broken)


def test_nothing_is_fetched_from_elsewhere(site):
    """The site is read without a network: only links for people lead out of it."""
    out = [
        f"{name}: {value}"
        for name in pages_of(site)
        for value in Loaded((site / name).read_text(encoding="utf-8")).targets
        if urllib.parse.urlsplit(value).netloc
    ]
    assert not out, "\n".join(out)


class Loaded(html.parser.HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self, text):
        super().__init__()
        self.targets = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag in {"img", "script", "iframe", "source"} and told.get("src"):
            self.targets.append(told["src"])
        if tag == "link" and "stylesheet" in told.get("rel", ""):
            self.targets.append(told["href"])


def test_the_course_can_be_downloaded(site):
    names = {path.name for path in (site / "_downloads").rglob("*.*")}
    lessons = {f"{page.stem}.ipynb" for page in (ROOT / "docs/course").glob("[0-9]-*.md")}
    archives = {"tilewise-course.zip", "tilewise-course-without-solutions.zip"}
    assert lessons | archives | {"ladder.ipynb"} <= names
