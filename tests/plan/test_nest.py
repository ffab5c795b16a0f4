"""The loop nest of a plan: its buffers are those whose bytes the plan states."""

from hypothesis import given, settings
from hypothesis import strategies as st

import tilewise
from tilewise._sizes import sized
from tilewise.plan.nest import LoopNest

ISAS = ("generic", "avx2", "avx512", "amx")


def machine_with(isa):
    facts = tilewise.machine().to_dict() | {"isa": {"value": isa, "source": "test"}}
    return tilewise.Machine.from_dict(facts)


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 50_000), d=st.integers(1, 900), k=st.integers(1, 900),
    dtype=st.sampled_from(["float32", "float64"]), isa=st.sampled_from(ISAS),
    engine=st.sampled_from(["auto", "blas"]), chunk=st.sampled_from(["auto", 96, 500]),
    update=st.booleans(),
)  # fmt: skip
def test_buffers_are_the_bytes_that_the_plan_states(n, d, k, dtype, isa, engine, chunk, update):
    plan = tilewise.plan(
        n, d, k, dtype, engine=engine, chunk_size=chunk, n_threads=1, machine=machine_with(isa)
    )
    kinds = [LoopNest.of(plan), LoopNest.of(plan, grouped=True)]
    assert [nest.groups for nest in kinds] == [0, plan.groups]
    assert plan.workspace_bytes_per_thread == max(nest.workspace_bytes for nest in kinds)
    assert plan.shared_bytes == max(nest.shared_bytes for nest in kinds)
    for nest in kinds:
        check_buffers(nest, update)
    of_rows = plan.row_bytes * n
    assert plan.row_bytes == 12 + 4 * plan.groups
    total = plan.workspace_bytes_per_thread + plan.shared_bytes + of_rows
    assert f": {sized(total)} on top of the data." in plan.reasons["memory"]


def check_buffers(nest, update):
    (workspace,) = (part for part in nest.buffers(update=update) if "ids" in part)
    assert workspace == nest.workspace
    lines = [-(-size // 64) * 64 for size in nest.workspace.values()]
    assert sum(lines) == nest.workspace_bytes
    shared = sum(nest.shared.values()) + sum(nest.summing.values())
    assert shared == nest.shared_bytes
    at = nest.addresses(update=update)
    buffers = {name: size for part in nest.buffers(update=update) for name, size in part.items()}
    assert list(at) == [*buffers, "end"]
    # Nothing lies on anything else, and the end is behind all of it.
    ends = [at[name] + size for name, size in buffers.items()]
    assert all(end <= begin for end, begin in zip(ends, list(at.values())[1:], strict=True))


def test_known_addresses_win_and_the_workspace_moves_as_a_whole():
    nest = LoopNest.of(tilewise.plan(1000, 64, 16, n_threads=1))
    plain = nest.addresses(update=False)
    known = nest.addresses(update=False, known={"X": 1 << 20, "workspace": 1 << 21})
    assert known["X"] == 1 << 20
    assert known["ids"] == 1 << 21
    assert known["norms"] - known["ids"] == plain["norms"] - plain["ids"]
    assert known["labels"] == plain["labels"]
