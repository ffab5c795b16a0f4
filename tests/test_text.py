"""Text from outside is shown without doing anything to whoever reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise._text import printable, printable_all, shorten

#: What a name in a file may hold, and what is shown of it.
HOSTILE = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "two\nlines": r"two\nlines",
    "back\rover": r"back\rover",
    "tab\tbell\x07": r"tab\tbell\x07",
    "nul\x00": r"nul\x00",
    "c1 \x9b2J": r"c1 \x9b2J",
    "turned \u202eatad\u202c": r"turned \u202eatad\u202c",
    "isolated \u2066x\u2069": r"isolated \u2066x\u2069",
    "surrogate \udc80": r"surrogate \udc80",
    "line\u2028separator": r"line\u2028separator",
    "hidden\u200b\ufeff": r"hidden\u200b\ufeff",
    "no\xa0break": r"no\xa0break",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_plainly_visible_is_escaped(text):
    assert printable(text) == HOSTILE[text]


@pytest.mark.parametrize("text", ["", "width", "höhe 2", "幅", "a+b=c²", "naïve – “quoted”", "😀"])
def test_what_people_write_stays(text):
    assert printable(text) == text


@given(st.text(), st.integers(10, 60))
def test_the_result_is_one_printable_line_of_bounded_length(text, most):
    for shown in (printable(text), printable(text, most)):
        assert shown.isprintable()
        shown.encode("utf-8")
    assert len(printable(text, most)) <= most
    assert len(shorten(text, most)) <= most


def test_of_a_long_text_both_ends_are_shown():
    assert shorten("a" * 1000 + "b" * 1000, 11) == "aaaa...bbbb"
    assert printable("\x1b" * 1000, 20).startswith(r"\x1b")


def test_characters_can_be_kept():
    assert printable("3\xa0s\n", keep="\xa0") == "3\xa0s\\n"


def test_all_of_a_record():
    told = {"a\x1b": ["x\n", 1, None, {"b": "\u202e"}], "c": 1.5, "d": True}
    assert printable_all(told) == {
        r"a\x1b": [r"x\n", 1, None, {"b": r"\u202e"}], "c": 1.5, "d": True,
    }  # fmt: skip
    deep = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        printable_all(deep)
