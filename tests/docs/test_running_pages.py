"""Blocks of a page run when the site is built, and a block that fails says where."""

import pathlib
import sys

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("matplotlib")

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import running_pages  # noqa: E402
from sphinx.errors import ExtensionError  # noqa: E402

DRAWS = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"


def test_results_stand_behind_their_blocks(tmp_path):
    text = (
        "# Page\n\n```python\na = 3\nprint(a)\n```\n\n## Run\n\n```python\nprint(a + 1)\n"
        f"{DRAWS}_ = plt.title('A line')\n```\n\nEnd.\n"
    )
    page = running_pages.with_results(text, "page", "page.md", tmp_path)
    first, run = page.split("## Run")
    assert f"{running_pages.SHOWN}\n\n```text\n3\n```" in first
    assert f"{running_pages.FOLDED}\n\n```text\n4\n```" in run
    assert "![A line](/_generated/page-1.png)" in run
    assert run.index("print(a + 1)") < run.index("![A line]") < run.index("End.")
    assert (tmp_path / "page-1.png").read_bytes().startswith(b"\x89PNG")


def test_a_block_that_fails_names_its_line(tmp_path):
    with pytest.raises(ExtensionError, match=r"(?s)page\.md: the block of line 6 .*line 7"):
        running_pages.with_results(
            "# Page\n\n\n\n```python\na = 1\nraise KeyError('b')\n```\n", "p", "page.md", tmp_path
        )


def test_a_figure_must_have_a_title(tmp_path):
    with pytest.raises(ExtensionError, match="without a title"):
        running_pages.with_results(f"```python\n{DRAWS}```\n", "p", "page.md", tmp_path)
