"""What blocks of a page gave is recorded, committed and shown; a build measures nothing."""

import json
import pathlib
import sys

import pytest
import recorded_load

pytest.importorskip("matplotlib")

from tilewise.lab._load import Meter

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import recording  # noqa: E402

DRAWS = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
PAGE = (
    "# Page\n\n```python\na = 3\nprint(a)\n```\n\n## Run\n\n```python\nprint(a + 1)\n"
    f"{DRAWS}_ = plt.title('A line')\n```\n\nEnd.\n"
)


def a_record(tmp_path, text=PAGE, **load):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    meter = Meter(recorded_load.readings(**load), sleep=lambda seconds: None)
    return recording.record("page", page, tmp_path, meter)


# --- recording ------------------------------------------------------------------------------------


def test_a_figure_that_stood_open_is_no_picture_of_a_block(tmp_path):
    recording.plt.figure()
    assert [len(block["pictures"]) for block in a_record(tmp_path)["blocks"]] == [0, 1]


def test_what_blocks_print_and_draw_is_recorded(tmp_path):
    made = a_record(tmp_path)
    first, second = made["blocks"]
    assert (first["printed"], first["pictures"]) == ("3\n", [])
    assert second["printed"] == "4\n"
    assert second["pictures"] == [{"file": "page-1.svg", "words": "A line"}]
    assert "A line" in (tmp_path / "page-1.svg").read_text(encoding="utf-8")
    assert made["quiet"] is True
    assert made["machine"].endswith(recording.tilewise.machine().isa.value)


def test_a_busy_machine_is_told(tmp_path):
    made = a_record(tmp_path, others=0.4)
    assert made["quiet"] is False
    assert "other processes used" in made["noise"][0]


def test_pictures_of_equal_figures_are_equal_files(tmp_path):
    texts = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        a_record(folder)
        texts.append((folder / "page-1.svg").read_bytes())
    assert texts[0] == texts[1]


def test_a_block_that_fails_names_its_line(tmp_path):
    text = "# Page\n\n\n\n```python\na = 1\nraise KeyError('b')\n```\n"
    with pytest.raises(recording.BlockFailed, match=r"(?s)page\.md: the block of line 6 .*line 7"):
        a_record(tmp_path, text)


def test_a_figure_must_have_a_title(tmp_path):
    with pytest.raises(recording.BlockFailed, match="without a title"):
        a_record(tmp_path, f"```python\n{DRAWS}```\n")


def test_a_changed_block_is_stale(tmp_path):
    made = a_record(tmp_path)
    assert recording.stale(PAGE, made) == []
    assert recording.stale(PAGE.replace("a = 3", "a = 4"), made) == [4]
    assert recording.stale(PAGE + "\n```python\nb = 1\n```\n", made) == [20]
    assert recording.stale(PAGE.replace("End.", "Other words."), made) == []
    assert recording.stale("# Page\n\n```python\na = 3\nprint(a)\n```\n", made) == [7]
    assert recording.stale(PAGE, None) == [4, 11]


def test_a_record_replaces_the_one_before(tmp_path):
    kept = tmp_path / "kept"
    recording.keep("page", a_record(tmp_path), tmp_path, kept)
    assert sorted(path.name for path in kept.iterdir()) == ["page-1.svg", "page.json"]
    recording.keep("page", a_record(tmp_path, "```python\nprint(1)\n```\n"), tmp_path, kept)
    assert [path.name for path in kept.iterdir()] == ["page.json"]
    assert recording.read("page", kept)["blocks"][0]["printed"] == "1\n"
    assert recording.read("other", kept) is None


@pytest.mark.parametrize(("more", "code"), [([], 1), (["--noisy"], 0)])
def test_the_program_keeps_nothing_of_a_busy_machine(tmp_path, monkeypatch, capsys, more, code):
    (tmp_path / "ladder.md").write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(recording, "DOCS", tmp_path)
    kept = tmp_path / "kept"
    monkeypatch.setattr(recording.keep, "__defaults__", (kept,))
    with recorded_load.a_machine(others=0.5):
        assert recording.main(["ladder", *more]) == code
    told = capsys.readouterr()
    assert "ladder: other processes used" in told.out
    assert ("1 not kept" in told.err) is bool(code)
    assert kept.exists() is not bool(code)
    with pytest.raises(SystemExit):
        recording.main(["no-such-page"])


# --- what is committed ----------------------------------------------------------------------------


def test_every_running_page_is_recorded_as_it_stands():
    assert len(recording.names()) == 7
    for name in recording.names():
        text = (recording.DOCS / f"{name}.md").read_text(encoding="utf-8")
        lines = recording.stale(text, recording.read(name))
        assert not lines, f"{name}: run `python docs/_ext/recording.py {name}`: lines {lines}"


def test_records_name_their_machine_and_their_pictures_are_there():
    files = set()
    for name in recording.names():
        made = recording.read(name)
        assert made["page"] == name
        assert "CPU" in made["machine"]
        assert made["quiet"] is not False or made["noise"]
        pictures = [picture for block in made["blocks"] for picture in block["pictures"]]
        assert pictures
        for picture in pictures:
            text = (recording.RECORDED / picture["file"]).read_text(encoding="utf-8")
            assert text.startswith("<?xml")
        files |= {picture["file"] for picture in pictures} | {f"{recording.slug(name)}.json"}
    assert {path.name for path in recording.RECORDED.iterdir()} <= files


# --- the site -------------------------------------------------------------------------------------


@pytest.fixture
def running_pages():
    pytest.importorskip("sphinx")
    import running_pages

    return running_pages


def test_results_stand_behind_their_blocks(running_pages, tmp_path):
    made = json.loads(json.dumps(a_record(tmp_path)))
    page = running_pages.with_results(PAGE, "page", made)
    first, run = page.split("## Run")
    assert f"{running_pages.SHOWN}\n\n```text\n3\n```" in first
    assert f"{running_pages.folded(made)}\n\n```text\n4\n```" in run
    assert "![A line](/_generated/page-1.svg)" in run
    assert run.index("print(a + 1)") < run.index("![A line]") < run.index("End.")
    assert made["recorded"] in running_pages.folded(made)
    assert made["machine"] in running_pages.source_told(made)


def test_a_build_shows_what_was_recorded_and_runs_nothing(running_pages, tmp_path):
    made = a_record(tmp_path)
    made["blocks"][0]["printed"] = "from the record\n"
    assert "from the record" in running_pages.with_results(PAGE, "page", made)


def test_a_block_without_a_record_stops_the_build(running_pages, tmp_path):
    from sphinx.errors import ExtensionError

    made = a_record(tmp_path)
    with pytest.raises(ExtensionError, match="page: what the block of line 4 gives is not rec"):
        running_pages.with_results(PAGE.replace("a = 3", "a = 4"), "page", made)


def test_a_busy_machine_is_told_at_the_top_of_the_page(running_pages, tmp_path):
    assert "Too noisy" not in running_pages.source_told(a_record(tmp_path))
    told = running_pages.source_told(a_record(tmp_path, others=0.4))
    assert "**Too noisy to compare times**: other processes used" in told
