"""A fitted model as something that runs elsewhere: a graph of ONNX, a C header, a PMML document.

What enters: a fitted K-Means model of tilewise or scikit-learn, for ONNX also a pipeline with such
models in it. What leaves: text or a graph that gives every row the label that `predict` gives it:
the lowest index among the centres at the least distance.

A map of the room:

    _fitted        what a form wants of a fitted model
    _onnx          a graph for ONNX runtimes; needs the extra `onnx`
    _c             a header of C99 and C++11
    _c_template    its parts, and why its labels are exact
    _pmml          a PMML document
    _forms         the table of forms

`FORMS` has a row for each form, by the ending of its files.
"""

from tilewise.export._c import to_c
from tilewise.export._fitted import FittedModel, fitted
from tilewise.export._forms import FORMS, Form
from tilewise.export._onnx import to_onnx
from tilewise.export._pmml import to_pmml

__all__ = ["FORMS", "FittedModel", "Form", "fitted", "to_c", "to_onnx", "to_pmml"]
