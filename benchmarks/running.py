"""What all suites share: who takes part, which cases are asked for, and the records of a run."""

import contextlib
import dataclasses
import sys

import timing


@dataclasses.dataclass(frozen=True)
class Run:
    """What the command line asked for, and who takes part."""

    peers: list
    rounds: int | None = None
    quick: bool = False
    full: bool = False
    shapes: tuple = ()
    dtypes: tuple = ()

    def cases(self, table, others=()):
        """Yield the cases of a table that were asked for, with each dtype.

        A shape that is in no row of the table is measured as the rows of `others` are.
        """
        known = {case.shape() for case in table}
        added = [
            case.resized(*map(int, shape.split("x")))
            for shape in self.shapes
            if shape not in known
            for case in others
        ]
        for case in (*table, *added):
            if self.shapes and case.shape() not in self.shapes:
                continue
            for dtype in self.dtypes or case.dtypes:
                yield (case.smaller() if self.quick else case), dtype

    def times(self, default):
        """Return the number of rounds."""
        return self.rounds or (min(default, 2) if self.quick else default)

    def taking_part(self, task, dtype, names=None, *, sparse=False):
        """Return the peers that can do a task in a dtype."""
        return [
            peer
            for peer in self.peers
            if peer.supports(task, dtype, sparse) and (names is None or peer.name in names)
        ]


def new_record(suite, case, dtype, **more):
    """Return the record of a case without figures, and tell that it is being measured."""
    what = f"{suite}: {case.kind} {case.shape()} {dtype}, {more['per']}"
    print(f"  {what}", file=sys.stderr, flush=True)
    about = {k: v for k, v in dataclasses.asdict(case).items() if k != "dtypes"}
    return {
        "suite": suite,
        "case": about | {"dtype": dtype},
        "unit": "s",
        "calibration": timing.calibrate(),
        "peers": {},
    } | more


@contextlib.contextmanager
def errors_into(record, name):
    """Keep the error of one peer in the record; the others go on."""
    try:
        yield
    except Exception as problem:
        record["peers"][name] = {"error": f"{type(problem).__name__}: {problem}"}
        print(f"    {name}: {problem}", file=sys.stderr)


def prepared(record, taking_part, make):
    """Return one call for each peer, warmed up by running it once, with what that gave."""
    calls, first = {}, {}
    for peer in taking_part:
        with errors_into(record, peer.name):
            call = make(peer)
            first[peer.name] = timing.clock(call)
            calls[peer.name] = call
    return calls, first
