"""The programs of the gallery run, and draw what can be told in words."""

import ast
import contextlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "docs" / "gallery").glob("plot_*.py"))
each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)


@each_program
def test_a_program_says_what_it_shows(program):
    title, underline, *text = ast.get_docstring(
        ast.parse(program.read_text(encoding="utf-8"))
    ).splitlines()
    assert set(underline) == {"="}
    assert len(underline) == len(title)
    assert sum(map(len, text)) > 100


@pytest.mark.slow
@each_program
def test_a_program_draws(program, tmp_path, capsys):
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("PIL")  # opens scikit-learn's photographs
    plt.switch_backend("Agg")
    code = compile(program.read_text(encoding="utf-8"), str(program), "exec")
    try:
        with contextlib.chdir(tmp_path):
            exec(code, {"__name__": program.stem})
        figures = [plt.figure(number) for number in plt.get_fignums()]
        assert figures
        for figure in figures:
            titles = [axes.get_title() for axes in figure.axes]
            assert any(titles) or figure.get_suptitle()
            figure.canvas.draw()
    finally:
        plt.close("all")
