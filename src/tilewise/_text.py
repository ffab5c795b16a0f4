"""Text that comes from outside, made safe to show.

Names of columns and files, machine names in records and the messages of libraries that quote a
file may hold anything: sequences that command a terminal, line ends that fake a second message,
marks that turn the order of the letters. Whoever shows such text to people passes it through
`printable` first. JSON needs no more than its own escapes.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["MOST_SHOWN", "counted", "first_line", "printable", "printable_all", "shorten"]

#: The most characters that are shown of one name or one cell.
MOST_SHOWN = 200

# No record is nested more deeply; a limit of our own comes before that of the interpreter.
_DEEPEST = 100


def printable(text: object, most: int | None = None, keep: str = "") -> str:
    r"""Return text in which every character that is not plainly visible is written as an escape.

    Letters, digits, marks and symbols of any script stay, and so does the space. Control
    characters, line ends, other spaces, marks of direction and lone surrogates become ``\x1b``,
    ``\n``, ``\xa0``, ``\u202e`` or ``\udc80``.

    Parameters
    ----------
    text : object
        Taken as `str` has it.
    most : int, optional
        The most characters of the result; the middle of a longer text is left out.
    keep : str, default=""
        Characters that stay as they are whatever they do.

    Returns
    -------
    str

    Examples
    --------
    >>> from tilewise._text import printable
    >>> print(printable("width\x1b[2J\r\u202emc"))
    width\x1b[2J\r\u202emc
    """
    text = str(text)
    if most is not None:
        text = shorten(text, most)
    if text.isprintable():
        return text
    shown = "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)
    return shown if most is None else shorten(shown, most)


def shorten(text: str, most: int = MOST_SHOWN) -> str:
    """Return a text of at most `most` characters: the middle of a longer one is left out.

    Examples
    --------
    >>> from tilewise._text import shorten
    >>> shorten("abcdefghijklmnop", 9)
    'abc...nop'
    """
    if len(text) <= most:
        return text
    head = (most - 2) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> from tilewise._text import counted
    >>> counted(1, "thread"), counted(2000, "row")
    ('1 thread', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def printable_all(value: Any, depth: int = 0) -> Any:
    r"""Return a value of JSON in which every text is printable, the names of its fields too.

    Parameters
    ----------
    value : object
        As `json.loads` returns it.
    depth : int, default=0
        How deep the value lies in another one.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If it is nested more than a hundred deep.

    Examples
    --------
    >>> from tilewise._text import printable_all
    >>> printable_all({"cpu": ["x\x07", 3]})
    {'cpu': ['x\\x07', 3]}
    """
    if isinstance(value, str):
        return printable(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, Mapping):
        return {printable_all(name): printable_all(item, depth + 1) for name, item in value.items()}
    return [printable_all(item, depth + 1) for item in value]


def _escaped(character: str) -> str:
    return repr(character)[1:-1]
