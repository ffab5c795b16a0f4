"""What lives beside the package, in a checkout of its source."""

from pathlib import Path

from ._errors import NoInput

__all__ = ["comparison"]


def comparison(given: Path | None = None) -> str:
    """The program that ``make bench`` runs.

    Parameters
    ----------
    given : path, optional
        Folder of the checkout; by default the current one, those above it, and those above this
        file are looked through.

    Returns
    -------
    str

    Raises
    ------
    NoInput
        If it is nowhere; the message says what to do.
    """
    places = [given]
    if given is None:
        places = [Path.cwd(), *Path.cwd().parents, *Path(__file__).parents]
    for place in places:
        program = place / "benchmarks" / "run.py"
        if program.is_file() and (place / "src" / "tilewise").is_dir():
            return str(program)
    where = f"in {given}" if given is not None else "here or above"
    raise NoInput(
        f"the comparison with other libraries is part of the source: there is no benchmarks/run.py "
        f"{where}; run this in a checkout of tilewise, or name one with --checkout"
    )
