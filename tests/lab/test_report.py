"""The page: whole, without a network, readable at the width of a phone and of a desk."""

import copy
import json
import re

import pytest

from tilewise.lab.experiments import EXPERIMENTS

from .conftest import SMALL

pytest.importorskip("jinja2")
pytest.importorskip("plotly")

import lab_browser

from tilewise.lab.report import asked, compare, html

needs_browser = pytest.mark.skipif(
    lab_browser.browser() is None, reason="no Chromium to open the page in"
)


def other_machine(result):
    """The same result as if another machine had given it, twice as slow."""
    other = copy.deepcopy(result)
    other["machine"]["facts"]["cpu_model"]["value"] = "Another CPU"
    for entry in other["measurements"]:
        for name in ("median", "low", "high", "min"):
            entry[name] *= 2
        entry["samples"] = [2 * sample for sample in entry["samples"]]
    return other


@pytest.fixture(scope="module")
def page(result_of):
    return html([json.loads(json.dumps(result_of(name))) for name in SMALL])


@pytest.fixture(scope="module")
def page_of_two(result_of):
    results = [result_of(name) for name in ("chunks", "mountain", "dtypes")]
    return html([*results, *map(other_machine, results)])


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_holds_everything(page, result_of):
    told = without_scripts(page)
    for name in SMALL:
        assert f'<section id="{name}">' in told
        assert EXPERIMENTS[name].title in told
    assert not re.search(r'(src|href)="(?!#|data:)', told)
    assert "@import" not in page
    assert page.count("<script") == 3
    assert "--quick" in told  # it says that these figures mean little


def test_one_file_is_enough(result_of):
    told = without_scripts(html([result_of("dtypes")]))
    assert told.count("<section") == 2
    assert ">machine</a>" in told
    with pytest.raises(ValueError, match="no result"):
        html([])


def test_two_machines_are_compared(page_of_two, result_of):
    told = without_scripts(page_of_two)
    assert ": machines A and B" in told
    assert "Another CPU" in told
    assert "B has 2.00 times the time of A" in told
    results = [result_of("chunks"), other_machine(result_of("chunks"))]
    from tilewise.lab._machine import machine_key

    letters = dict(zip(map(machine_key, results), "AB", strict=True))
    figures = compare(EXPERIMENTS["chunks"], results, letters)
    names = [s.name for s in figures[0].series]
    assert "A: fused engine" in names
    assert "B: fused engine" in names
    same = {s.name: (s.color, s.machine) for s in figures[0].series}
    assert same["A: fused engine"][0] == same["B: fused engine"][0]
    assert (same["A: fused engine"][1], same["B: fused engine"][1]) == (0, 1)
    assert not any("expected" in name for name in names)
    assert compare(EXPERIMENTS["chunks"], results[:1], letters) == []


def test_the_small_print_is_words(result_of):
    told = without_scripts(html([result_of(name) for name in ("chunks", "mountain", "roofline")]))
    assert " features, " in told
    for name in ("largest mib", "largest_mib", "n_features", "dtype float32", "engines both"):
        assert name not in told
    assert asked({"threads": 2, "simulate": False, "note": "x"}) == "2 threads, note x"


def test_what_strangers_write_stays_text(result_of):
    result = copy.deepcopy(result_of("chunks"))
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    result["machine"]["facts"]["cpu_model"]["value"] = evil
    result["parameters"]["note"] = evil
    for entry in result["measurements"]:
        entry["series"] += evil
    page = html([result])
    assert "alert(1)</script>" not in page
    assert "<img" not in without_scripts(page)


def test_a_result_that_lacks_something_is_named(result_of):
    result = copy.deepcopy(result_of("threads"))
    result["facts"] = {}
    with pytest.raises(ValueError, match=r"threads from .* lacks .*cpus"):
        html([result])
    result["experiment"] = "yours"
    with pytest.raises(ValueError, match="'yours' is not an experiment"):
        html([result])


@needs_browser
@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["page", "page_of_two"])
def test_the_page_opens(request, tmp_path, which, width):
    page = request.getfixturevalue(which)
    charts = page.count('<div class="chart"')
    seen = lab_browser.look(tmp_path, page, width)
    assert seen["problems"] == []
    assert seen["width"] == width
    assert seen["content"] <= width, seen["wide"]
    assert seen["charts"] == seen["drawn"] == charts > 5
    assert seen["charts_wide"] == 0
    assert seen["smallest_text"] >= 15
    assert seen["smallest_in_charts"] >= 11
    assert seen["words"] > 2000


@needs_browser
@pytest.mark.timeout(120)
def test_the_page_is_dark_where_that_is_wished(tmp_path, result_of):
    page = html([result_of("dtypes")])

    def brightness(color):
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3

    for dark in (False, True):
        seen = lab_browser.look(tmp_path, page, 800, dark)
        assert seen["problems"] == []
        difference = brightness(seen["ground"]) - brightness(seen["ink"])
        assert (difference < -150) if dark else (difference > 150)
