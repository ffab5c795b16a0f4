"""Compile kernels for GPUs, which needs none, and print what their code says about rounding.

Run by `test_compiled.py` in a process of its own, where Triton's interpreter is not in place.
"""

import json
import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tilewise.cuda import _decision, _distances, _gaps, _nearest, _scorer, _sums
from tilewise.cuda._triton import EXACT

# Types of parameters by name; all others are int32.
_DOUBLE, _FLOAT, _HALF, _INT, _LONG = "*fp64", "*fp32", "*fp16", "*i32", "*i64"
_TYPES = {
    "OPEN": _LONG, "PAIRS": _LONG, "ZERO": "*i8", "trusted": "fp32", "lowest": "fp32",
    "SIGMA": _DOUBLE, "PACKED": _HALF, "NORM": _FLOAT, "REST": _FLOAT, "H": _HALF, "G": _HALF,
    "MINIMA": _FLOAT, "REST_X": _FLOAT, "FACTS": _FLOAT, "KTH": _FLOAT, "LISTS": _INT,
    "COUNTS": _INT, "VALUES": _DOUBLE, "ORIGIN": _DOUBLE, "OUT": _DOUBLE,
}  # fmt: skip
_WIDE = {"NORM_X": _DOUBLE, "NORM_Y": _DOUBLE}
_SINGLE = {"NORM_X": _FLOAT, "NORM_Y": _FLOAT, "ORIGIN": _FLOAT, "OUT": _FLOAT}
# Kernels of passes: digits are int64, numbers float64.
_PASS = {
    "C": _DOUBLE, "SEED": _DOUBLE, "CANDIDATES": _DOUBLE, "W": _DOUBLE, "GAPS": _DOUBLE,
    "CLOSEST": _DOUBLE, "LABELS": _INT, "ROWS": _INT, "OLD": _INT, "COUNT": _INT, "S": _LONG,
    "MEMBERS": _LONG, "POSITIONS": _INT, "LIMBS": _INT, "BIGS": _DOUBLE, "MOST": _LONG,
    "LARGEST": _LONG, "LEAST": _LONG, "BAD": _INT, "DIGITS": _LONG, "GAINS": _LONG,
    "UNITS": _DOUBLE, "NEW": _DOUBLE, "SHIFTS": _DOUBLE, "HALF": _FLOAT, "FACTS": _INT,
    "OPEN": _INT,
    "LIMITS": _FLOAT, "LEFT": _INT, "SCRATCH": _INT, "ORIGIN": _DOUBLE, "SUMS": _LONG,
    "TARGETS": _DOUBLE, "FOUND": _LONG, "TOTAL": _LONG, "VALUES": _DOUBLE,
}  # fmt: skip
_TILE = {"D": 128, "BD": 128, "BM": 128, "BN": 128}

# Name: kernel, type of the rows, other types, constants, warps.
_CASES = {
    "differences": (_distances.fill, "fp64", _WIDE, {
        "SAME": True, "WIDE": True, "PRODUCTS": False, "FINISH": 1, "BM": 32, "BN": 32}, 4),
    "products": (_distances.fill, "fp64", _WIDE, {
        "SAME": True, "WIDE": True, "PRODUCTS": True, "FINISH": 1, "BM": 32, "BN": 32}, 4),
    "float32 differences": (_distances.fill, "fp32", _SINGLE, {
        "SAME": True, "WIDE": False, "PRODUCTS": False, "FINISH": 1, "BM": 64, "BN": 64}, 8),
    "float32 products": (_distances.fill, "bf16", _SINGLE, {
        "SAME": True, "WIDE": False, "PRODUCTS": True, "FINISH": 2, "BM": 64, "BN": 64}, 8),
    "pairs": (_distances.mend, "fp16", {}, {"FINISH": 1, "BP": 64}, 4),
    "cosines": (_distances.mend_cosines, "fp32", _SINGLE, {"BP": 64}, 4),
    "norms": (_distances.norms, "i64", {}, {"WIDE": True, "BM": 32}, 4),
    "float32 norms": (_distances.norms, "fp32", _SINGLE, {"WIDE": False, "BM": 32}, 4),
    "rows of length one": (_distances.unit_rows_kernel, "bf16", {}, {"BM": 32}, 4),
    "candidates": (_nearest.candidate_squares, "fp32", {}, {"CAP": 64, "BP": 64}, 2),
    "roots": (_nearest.roots, "fp64", {}, {"BLOCK": 1024}, 4),
    "packed rows": (_nearest.pack, "i32", {}, {"D": 128, "BM": 32, "BD": 64}, 4),
    "minima": (_nearest.group_minima, "fp32", _SINGLE, _TILE, 8),
    "lists": (_nearest.list_candidates, "fp32", _SINGLE, {**_TILE, "CAP": 64}, 8),
    "look": (_scorer.look, "fp32", {**_PASS, "ORIGIN": _FLOAT}, {
        "BM": 64, "BN": 64, "BD": 64, "D": 64, "W": 16, "STAGES": 2}, 4),
    "decision": (_decision.decide, "fp32", {**_PASS, "ORIGIN": _FLOAT}, {
        "CAP": 8, "BM": 64, "BN": 64, "BD": 64, "D": 64}, 4),
    "decision among all": (_decision.decide_among_all, "fp32", _PASS, {"BK": 32}, 4),
    "sums": (_sums.add_moved, "fp32", _PASS, {
        "WEIGHTED": True, "MOST": 2, "BM": 16, "BD": 64}, 4),
    "averages": (_sums.average, "fp32", {**_PASS, "OLD": _DOUBLE}, {"MOST": 3, "BJ": 4}, 1),
    "extremes": (_sums.extremes, "fp64", _PASS, {"STEPS": 8, "BM": 16, "BD": 64}, 4),
    "moments": (_sums.column_digits, "fp64", _PASS, {
        "STEPS": 8, "BM": 16, "BD": 64, "DOUBLE": True}, 4),
    "own distances": (_gaps.own_gaps, "fp32", _PASS, {"WEIGHTED": True, "BM": 32}, 4),
    "seeds": (_gaps.take_seed, "fp32", _PASS, {"WEIGHTED": True, "BM": 32}, 4),
    "gains": (_gaps.candidate_gains, "fp32", _PASS, {"WEIGHTED": True, "BM": 32, "T": 8}, 4),
    "draws": (_gaps.locate_rows, "fp64", _PASS, {
        "WEIGHTED": True, "BLOCK": 4096, "CHUNK": 256}, 8),
}  # fmt: skip


def compiled(kernel, kind, types, constants, warps):
    """What the code of one kernel has in it."""
    names = kernel.arg_names
    own = {"X": "*" + kind, "Y": "*" + kind, "T": "*" + kind}
    # What Triton takes numbers for that are passed as they are: float32, unless told otherwise.
    told = {p.name: p.annotation_type or "fp32" for p in kernel.params if p.name == "scale"}
    types = {**_TYPES, **own, **types, **told}
    source = ASTSource(
        kernel, {n: "constexpr" if n in constants else types.get(n, "i32") for n in names},
        constexprs={(names.index(n),): value for n, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]] for i, n in enumerate(names)
            if n not in constants and types.get(n, "").startswith("*")
        },
    )  # fmt: skip
    # Compute capability 8.0, the least that is taken.
    options = {**EXACT, "num_warps": warps, "num_stages": 2}
    code = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options)
    return {
        "fma": sorted(set(re.findall(r"\bfma\.\S+", code.asm["ptx"]))),
        "roots": sorted(set(re.findall(r"\bsqrt\.\S+", code.asm["ptx"]))),
        "quotients": sorted(set(re.findall(r"\bdiv\.\w*\.*f\S+", code.asm["ptx"]))),
        "flushes": "ftz" in code.asm["ptx"],
        "shared": code.metadata.shared,
        "scale": told.get("scale", ""),
    }


if __name__ == "__main__":
    print(json.dumps({name: compiled(*case) for name, case in _CASES.items()}))
