"""Rates of a machine for the experiments: what measures them, and what a result says of them."""

from collections.abc import Mapping
from typing import Any

from tilewise.kernels import _probe
from tilewise.plan import machine as this_machine

from . import mountain
from ._run import Case
from .caches import CacheConfig

__all__ = ["measured_rates", "peak_of", "roof_cases", "rows_bandwidth"]

_MEMORY_BYTES = 256 << 20


def roof_cases(
    threads: int, dtype: str = "float32", memory_bytes: int = _MEMORY_BYTES, quick: bool = False
) -> list[Case]:
    """Cases that measure the multiply-add peak and the bandwidth of each level.

    Parameters
    ----------
    threads : int
    dtype : str, default="float32"
        Of the scores: float32 whatever the rows are, unless they are of the ``blas`` engine.
    memory_bytes : int
        Read per thread to measure memory; more where L2 is large.
    quick : bool, default=False
        Smoke size.

    Returns
    -------
    list of Case
        Of the series "peak" and "bandwidth".
    """
    here = this_machine()
    isa, l2 = here.isa.value, here.l2_bytes.value
    repeats = 300_000 if quick else 3_000_000
    cases = [
        Case("peak", {"what": "multiply-adds", "dtype": dtype, "threads": threads},
             lambda: _probe.fma_gflops(dtype, threads, isa, repeats), "GFLOP/s"),
    ]  # fmt: skip
    # That of bfloat16 products counts where scores are made of them.
    if _probe.product_gflops(1, isa, 1) is not None:
        few = max(1, repeats // 10)
        cases.append(
            Case("peak", {"what": "products", "dtype": "bfloat16", "threads": threads},
                 lambda: _probe.product_gflops(threads, isa, few), "GFLOP/s")
        )  # fmt: skip
    largest = (16 << 20) if quick else max(memory_bytes, 8 * l2)
    levels = {"L1": here.l1d_bytes.value // 2, "L2": l2 // 2}
    if len(CacheConfig.from_machine(here).levels) > 2:
        levels["L3"] = min(2 * l2, largest // 2)
    words = mountain.buffer(largest * threads)
    for level, size in (levels | {"memory": largest}).items():
        case = mountain.read_case(words, size // 64 * 64 * threads, 1, isa, threads)
        case.case["level"] = level
        cases.append(case)
    return cases


def rows_bandwidth(size: int, threads: int) -> Case:
    """Return a case that reads so many bytes again and again, as passes read their rows.

    Rows that fit into a shared cache come from there and not from memory, whatever the system
    claims of the size of that cache: what they are read at is measured for each size.
    """
    size = max(1, size // 64) * 64
    words = mountain.buffer(size)
    return mountain.read_case(words, size, 1, this_machine().isa.value, threads, "rows bandwidth")


def measured_rates(
    result: Mapping[str, Any],
) -> tuple[float | None, float | None, dict[str, float]]:
    """Return the best rates among the measurements of a result.

    Returns
    -------
    peak, products : float or None
        Of multiply-adds, and of products of bfloat16 on AMX, in GFLOP/s.
    levels : dict of str to float
        Bandwidth of each level in GB/s.
    """
    peaks: dict[bool, float] = {}
    levels: dict[str, float] = {}
    for e in result["measurements"]:
        if e["series"] == "peak":
            peaks[e["case"].get("what") == "products"] = float(max(e["samples"]))
        elif e["series"] == "bandwidth" and "level" in e["case"]:
            levels[e["case"]["level"]] = float(max(e["samples"]))
    return peaks.get(False), peaks.get(True), levels


def peak_of(result: Mapping[str, Any], products: int) -> float | None:
    """Return the peak in GFLOP/s for scores of so many products of parts, 0 for plain scores.

    An operation of a score is as many of bfloat16 numbers as there are products. None where
    the rate was not measured.
    """
    plain, of_products, _ = measured_rates(result)
    if not products:
        return plain
    return None if of_products is None else of_products / products
