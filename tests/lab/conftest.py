"""One small result of every experiment that needs nothing beside the package; other machines."""

import importlib.util
from pathlib import Path

import pytest
import recorded_load

from tilewise.lab.experiments import perform

# The recorded machines and the fixtures that read them belong to the planner's tests.
_spec = importlib.util.spec_from_file_location(
    "plan_conftest", Path(__file__).parents[1] / "plan" / "conftest.py"
)
_plan_tests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_plan_tests)
MACHINES, here, recorded = _plan_tests.MACHINES, _plan_tests.here, _plan_tests.recorded


@pytest.fixture(scope="module", autouse=True)
def quiet_machine():
    """A machine on which nobody else works, whatever the one does that runs the tests."""
    with recorded_load.a_machine():
        yield


# Small enough for seconds; the figures mean nothing.
SMALL = {
    "chunks": {"rows": 1500, "features": 30, "clusters": 20, "simulate": True},
    "dtypes": {"rows": 1500, "features": 8, "clusters": 9},
    "threads": {"rows": 2000, "features": 8, "clusters": 9},
    "materialise": {"rows": 20_000, "features": 4, "clusters": 64},
    "mountain": {"largest_mib": 8},
    "roofline": {"shapes": "2000x8x8,600x40x20"},
}
_KEPT = {}


@pytest.fixture(scope="session")
def result_of():
    """Return a function of an experiment's name; each is measured once."""

    def measured(name):
        if name not in _KEPT:
            _KEPT[name] = perform(name, SMALL[name], quick=True, seconds=0.5)
        return _KEPT[name]

    return measured
