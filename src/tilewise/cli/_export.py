"""``tilewise export``: write a model of ``tilewise fit`` in a form that runs elsewhere."""

import warnings

import click

from .. import __version__
from .._text import counted, first_line
from ._data import check_readable
from ._errors import BadData, MissingExtra, WrongUsage
from ._model import read_model
from ._options import (
    FILE,
    Clock,
    chained,
    debug_option,
    epilog,
    force_option,
    human_line,
    option,
    path_option,
    report_options,
    show_warnings,
)
from ._output import Outputs, print_json

# Each becomes an argument of the form's function; None is "as that function has it".
form_options = chained(
    option("--name", str, "C: what the names in the header begin with.  [default: kmeans]"),
    option(
        "--rows", click.Choice(["uint8"]),
        "C: type of the rows, for pixels and sensors.  [default: that of the fit]",
    ),
    option(
        "--precision", click.Choice(["double", "float32"]),
        "ONNX: type that the graph computes in. Labels are the same.  [default: double]",
    ),
    option(
        "--opset", click.IntRange(min=1),
        "ONNX: version of the operators, for runtimes that lack newer ones.",
    ),
    click.option(
        "--labels-only", "outputs", flag_value=("label",), default=None, type=click.UNPROCESSED,
        help="ONNX: leave the distances out of the graph.",
    ),
    click.option(
        "--exact", is_flag=True, default=None,
        help="PMML: add formulas, so that float64 rows midway between two centres get the label "
        "of predict too; about ten times as long.",
    ),
)  # fmt: skip


@click.command(
    epilog=epilog(
        "tilewise export photo.model.npz -o photo.onnx",
        "tilewise export photo.model.npz -o photo.h --name photo",
        "tilewise export iris.model.npz -o iris.pmml --json --quiet",
    ),
)
@click.argument("model", type=FILE)
@path_option("--output", "FILE", "Where to write; the ending says which form.", "-o", required=True)
@form_options
@force_option
@report_options
@debug_option
def export(model, output, force, as_json, quiet, **options):
    """Write MODEL as an ONNX graph, a C header or a PMML document.

    MODEL is the .npz file that `tilewise fit` wrote. FILE ends in .onnx, .h or .pmml. A row
    gets the label that `tilewise predict` gives it; see --exact for PMML. To write an ONNX graph
    you need the extra onnx; the other two need nothing.
    """
    form = _form_of(output)
    given = {name: value for name, value in options.items() if value is not None}
    _check_options(form, given, output)
    check_readable(model)
    outputs = Outputs({"model": output}, [model], force)

    clock = Clock()
    with clock("read"):
        stored = read_model(model)
    with clock("export"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        content = _content(form, stored, model, given)
    messages = show_warnings(caught)
    with clock("write"):
        outputs.write({"model": lambda stream: stream.write(content)})

    n_clusters, n_features = stored.centers.shape
    if not quiet:
        shape = f"{counted(n_clusters, 'cluster')} of {counted(n_features, 'feature')}"
        human_line(f"{model}: {shape}, {stored.centers.dtype}", as_json)
        human_line(f"{form.name} for {form.what}: {output} ({len(content):,} bytes)", as_json)
    if as_json:
        print_json(
            {
                "model": model,
                "form": form.name,
                "n_features": n_features,
                "n_clusters": n_clusters,
                "feature_names": stored.feature_names,
                "bytes": len(content),
                "seconds": clock.seconds,
                "outputs": outputs.paths,
                "warnings": messages,
                "version": __version__,
            }
        )


def _form_of(output):
    from ..export import FORMS

    form = FORMS.get(output.suffix.lower())
    if form is None:
        *most, last = FORMS
        raise WrongUsage(f"{output}: the name must end in {', '.join(most)} or {last}")
    return form


def _check_options(form, given, output):
    for name in given:
        if name not in form.options:
            shown = {"outputs": "--labels-only"}.get(name, f"--{name}")
            raise WrongUsage(f"{output}: {form.name} has no option {shown}")


def _content(form, stored, model, given):
    try:
        return form.to_bytes(stored.estimator(), **given)
    except ImportError as error:
        raise MissingExtra(first_line(error)) from error
    except ValueError as error:
        # The centres have been checked, so an option is wrong if one was given.
        if given:
            raise WrongUsage(first_line(error)) from error
        raise BadData(f"{model}: {first_line(error)}") from error
