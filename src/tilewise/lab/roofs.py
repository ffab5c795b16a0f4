"""Roofs: how fast a machine can multiply and how fast each level can deliver.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 52 (2009).
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tilewise.plan import Machine
from tilewise.plan.layout import TILES

from ._load import Meter
from ._rates import measured_rates, roof_cases
from ._run import Run
from .quiet import headline, noise

__all__ = ["Roofs"]

# Where nothing was measured. Two multiply-adds and two loads of a vector per cycle are what
# cores with AVX2 and newer do since 2013 (one multiplication and one addition without FMA); an
# L2 delivers about half a line per cycle in the long run; L3 and memory are what one core of a
# common server reaches. Good for orders of magnitude.
_GHZ = 3.0
# Above this a record is no record: rates would overflow when they are scaled.
_MOST_THREADS = 2**20
# Of bfloat16 on AMX, per core: a product of 16 x 32 by 32 x 16 numbers, 8192 multiply-adds, every
# 16 cycles (Intel 64 and IA-32 Architectures Optimization Reference Manual, on Intel AMX).
_PRODUCTS_PER_CYCLE = 512
_AMX_ASSUMED = f" (on AMX {_PRODUCTS_PER_CYCLE} of bfloat16 numbers)"
_L2_BYTES_PER_CYCLE = 32
_L3_BYTES_PER_CYCLE = 8
_MEMORY_GBS = 10.0
# Bytes per thread that are read to measure memory.
_MEMORY_BYTES = 64 << 20


@dataclass(frozen=True)
class Roofs:
    """What all threads together can reach at most.

    Attributes
    ----------
    compute_gflops : float
        Billions of floating-point operations per second in the type of the scores, a
        multiply-add counting as two.
    bandwidth_gbs : dict of str to float
        Billions of bytes per second that each level delivers inwards: "L1", "L2", perhaps
        "L3", "memory".
    threads : int
        How many threads that is for.
    source : str
        Measured, recorded or assumed, and how.
    product_gflops : float or None
        The same as compute_gflops for products of bfloat16 on AMX; None where that is not known.

    Examples
    --------
    >>> import tilewise
    >>> from tilewise.lab.roofs import Roofs
    >>> roofs = Roofs.defaults(tilewise.machine(), threads=2)
    >>> roofs.compute_gflops > 0 and roofs.bandwidth("L2") > roofs.bandwidth("memory")
    True
    """

    compute_gflops: float
    bandwidth_gbs: dict[str, float]
    threads: int
    source: str
    product_gflops: float | None = None

    @classmethod
    def defaults(cls, machine: Machine, threads: int = 1, score_dtype: str = "float32") -> "Roofs":
        """Roofs from the instruction set alone, for orders of magnitude."""
        vector = TILES[machine.isa.value][0]
        lanes = vector // (8 if score_dtype == "float64" else 4)
        per_cycle = 2 if machine.isa.value == "sse2" else 4
        amx = machine.isa.value == "amx"
        return cls(
            per_cycle * lanes * _GHZ * threads,
            {
                "L1": 2 * vector * _GHZ * threads,
                "L2": _L2_BYTES_PER_CYCLE * _GHZ * threads,
                "L3": _L3_BYTES_PER_CYCLE * _GHZ * threads,
                "memory": _MEMORY_GBS * threads,
            },
            threads,
            f"assumed, not measured: {_GHZ:g} GHz, {per_cycle // 2} multiply-adds"
            f"{_AMX_ASSUMED if amx else ''} and two loads of {vector} bytes per cycle,"
            f" {_L2_BYTES_PER_CYCLE} bytes per cycle from L2, {_L3_BYTES_PER_CYCLE} from L3,"
            f" {_MEMORY_GBS:g} GB/s from memory, each thread",
            2 * _PRODUCTS_PER_CYCLE * _GHZ * threads if amx else None,
        )

    @classmethod
    def measure(cls, threads: int = 1, score_dtype: str = "float32") -> "Roofs":
        """Measure this machine, in about two seconds.

        Warns
        -----
        RuntimeWarning
            If others used the machine meanwhile; `source` then says so.
        """
        run = Run({}, 2.0, meter=Meter())
        run.meter.before(quick=True)
        run.measure("roofs", roof_cases(threads, score_dtype, _MEMORY_BYTES))
        peak, products, levels = measured_rates(vars(run))
        source = "measured now, best of several"
        if reasons := run.meter.verdict()["noise"]:
            warnings.warn(headline(reasons), RuntimeWarning, stacklevel=2)
            source += f", but {'; '.join(reasons)}"
        return cls(peak, levels, threads, source, products)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Roofs":
        """Roofs from what `to_dict` returned, or from a result of ``tilewise bench roofline``.

        Raises
        ------
        ValueError
            If the record is neither.
        """
        try:
            if "measurements" not in record:
                bandwidth = {str(k): float(v) for k, v in record["bandwidth_gbs"].items()}
                products = record.get("product_gflops")
                found = cls(float(record["compute_gflops"]), bandwidth, int(record["threads"]),
                            str(record["source"]),
                            None if products is None else float(products))  # fmt: skip
            else:
                peak, products, bandwidth = measured_rates(record)
                source = "recorded by tilewise bench roofline"
                if reasons := noise(record):
                    source += f", but {'; '.join(map(str, reasons))}"
                found = cls(float(peak), bandwidth, int(record["parameters"]["threads"]), source,
                            products)  # fmt: skip
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a record of roofs ({type(error).__name__}: {error})") from error
        rates = [found.compute_gflops, *found.bandwidth_gbs.values()]
        rates += [] if found.product_gflops is None else [found.product_gflops]
        if "memory" not in found.bandwidth_gbs or not all(0 < rate < math.inf for rate in rates):
            raise ValueError("not a record of roofs (a rate is missing or not above 0)")
        if not 1 <= found.threads <= _MOST_THREADS:
            raise ValueError(f"not a record of roofs ({found.threads} threads)")
        return found

    def arithmetic(self, products: int) -> float:
        """Billions of operations per second of scores in so many products, 0 for plain ones.

        Raises
        ------
        ValueError
            If the rate of products is not known.
        """
        if not products:
            return self.compute_gflops
        if self.product_gflops is None:
            raise ValueError(
                "these roofs have no rate of products of bfloat16 on AMX, but this plan uses them: "
                "measure the roofs on this machine"
            )
        return self.product_gflops

    def bandwidth(self, level: str) -> float:
        """Billions of bytes per second out of a level; of the next one outwards if unknown."""
        for name in ("L1", "L2", "L3", "memory")[("L1", "L2", "L3", "memory").index(level) :]:
            if name in self.bandwidth_gbs:
                return self.bandwidth_gbs[name]
        raise ValueError(f"no bandwidth is known from {level} on")

    def scaled(self, threads: int) -> "Roofs":
        """The same for another number of threads.

        Cores multiply and read their own caches side by side; what they share, L3 and memory,
        is taken to deliver no more to more threads, and proportionally less to fewer.
        """
        if threads == self.threads:
            return self
        factor = threads / self.threads
        rates = {
            level: rate * (min(1.0, factor) if level in ("L3", "memory") else factor)
            for level, rate in self.bandwidth_gbs.items()
        }
        note = f"{self.source}; scaled from {self.threads} to {threads} threads"
        products = None if self.product_gflops is None else self.product_gflops * factor
        return Roofs(self.compute_gflops * factor, rates, threads, note, products)

    def to_dict(self) -> dict[str, Any]:
        """The roofs as JSON-safe values."""
        return asdict(self)
