"""Compile the looks for recorded devices, and print what shared memory they take, as JSON.

Needs no GPU. Run by `test_shared_memory.py` in a process of its own, without the interpreter.
"""

import inspect
import json
import pathlib

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tilewise.cuda import _decision, _plan, _scorer
from tilewise.cuda._facts import DeviceFacts
from tilewise.cuda._triton import EXACT

_DEVICES = pathlib.Path(__file__).parent / "devices"
_POINTERS = {
    "G": "*fp16", "HALF": "*fp32", "FACTS": "*i32", "C": "*fp64", "LABELS": "*i32", "OPEN": "*i32",
    "LIMITS": "*fp32", "COUNT": "*i32", "SCRATCH": "*i32", "LEFT": "*i32",
}  # fmt: skip
# Device, columns, clusters, type of the rows, kernel.
CASES = [
    ("h200", 16, 64, "float32", "look"), ("h200", 128, 1024, "float32", "look"),
    ("h200", 384, 4096, "float32", "look"), ("a100", 384, 4096, "float32", "look"),
    ("l4", 128, 1024, "float64", "look"), ("l4", 768, 100, "float64", "look"),
    ("h200", 128, 1024, "float32", "decide"), ("l4", 128, 1024, "float64", "decide"),
]  # fmt: skip


def shared(device, d, k, dtype, kernel):
    """What the plan states for a block, what the compiler takes, and what there is."""
    facts = DeviceFacts.from_dict(json.loads((_DEVICES / f"{device}.json").read_text()))
    plan = _plan.plan_device(10**6, d, k, dtype, facts)
    sizes = _plan.Sizes(**{name: getattr(plan, name) for name in _plan.Sizes.__annotations__})
    item = 4 if dtype == "float32" else 8
    if kernel == "look":
        function, stages, warps = _scorer.look, plan.stages, plan.warps
        planned, more = sizes.look_bytes(plan.depth, item), {}
        constants = {"BM": plan.tile_rows, "BN": plan.tile_centers, "STAGES": plan.stages,
                     "W": min(16, plan.tile_centers // 2)}  # fmt: skip
    else:
        function, stages, warps = _decision.decide, plan.decided_stages, 4
        planned, more = sizes.decision_bytes(item), EXACT
        constants = {"BM": plan.decided_rows, "BN": plan.decided_centers, "CAP": _plan.CANDIDATES}
    constants |= {"BD": plan.tile_depth, "D": plan.depth, "column_stride": 1, "scale": 1.0}
    names = list(inspect.signature(function.fn).parameters)
    rows = "fp32" if item == 4 else "fp64"
    types = _POINTERS | {"X": f"*{rows}", "ORIGIN": f"*{rows}"}
    source = ASTSource(
        function, {n: "constexpr" if n in constants else types.get(n, "i32") for n in names},
        constexprs={(names.index(n),): value for n, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]] for i, n in enumerate(names)
            if n in types or n in ("n", "d", "k", "row_stride")
        },
    )  # fmt: skip
    target = GPUTarget("cuda", int(facts.capability.value.replace(".", "")), 32)
    options = {"num_warps": warps, "num_stages": stages, **more}
    code = triton.compile(source, target=target, options=options)
    return {
        "device": device, "planned": planned, "taken": code.metadata.shared,
        "there_is": facts.shared_bytes.value,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps([shared(*case) for case in CASES]))
