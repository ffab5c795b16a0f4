"""The table of forms: for each ending of a file, what turns a model into the bytes of such a file.

To add a form, write a file with its function in this room and add a row to `FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["FORMS", "Form"]


@dataclass(frozen=True)
class Form:
    """A form that a fitted model can be written in.

    Attributes
    ----------
    name : str
        What people call it.
    what : str
        What runs it, in a few words.
    to_bytes : callable
        Takes a fitted model and the form's options by keyword; returns the content of the file.
    options : tuple of str
        The options that `to_bytes` knows.
    """

    name: str
    what: str
    to_bytes: Callable[..., bytes]
    options: tuple[str, ...] = ()


# Forms are imported when they are asked for: one may need a package that is not installed.


def _onnx_bytes(model: Any, **options: Any) -> bytes:
    from tilewise.export._onnx import to_onnx

    return to_onnx(model, **options).SerializeToString()


def _c_bytes(model: Any, **options: Any) -> bytes:
    from tilewise.export._c import to_c

    return to_c(model, **options).encode()


def _pmml_bytes(model: Any, **options: Any) -> bytes:
    from tilewise.export._pmml import to_pmml

    return to_pmml(model, **options).encode()


#: The forms that there are, by the ending of their files.
FORMS: dict[str, Form] = {
    ".onnx": Form("ONNX", "its runtimes", _onnx_bytes, ("precision", "opset", "outputs")),
    ".h": Form("C", "compilers of C99 and C++11", _c_bytes, ("name", "rows")),
    ".pmml": Form("PMML", "scoring engines", _pmml_bytes, ("exact",)),
}
