"""The real kernels under valgrind's cache simulator.

`run` starts a small process twice under ``valgrind --tool=cachegrind``: once with everything set up
and no pass, once with one pass. The difference is the pass. The instruction set is capped,
since valgrind knows no AVX-512, and both caches are given explicitly, since it would otherwise
believe what a hypervisor says of L3.

cachegrind has two levels, D1 and LL, both with least-recently-used replacement; a write that
misses fetches its line; prefetches and write-backs do not exist. An access that crosses the
border of two lines counts as one, and as one miss at most.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tilewise._typing import ChunkSize, Engine
from tilewise.lab.caches import CacheConfig
from tilewise.lab.simulate import Simulation, simulate
from tilewise.lab.stages import dense_nest
from tilewise.plan import Fact, Plan, plan
from tilewise.plan import machine as this_machine
from tilewise.plan.nest import LoopNest

__all__ = ["CachegrindError", "CachegrindResult", "available", "parse", "rounded", "run"]

#: What valgrind can run, the widest last.
ISAS = ("sse2", "avx2")


class CachegrindError(RuntimeError):
    """valgrind is missing, failed, or wrote something that was not understood."""


@dataclass(frozen=True)
class CachegrindResult:
    """What cachegrind counted for one pass.

    Attributes
    ----------
    plan : Plan
    update : bool
        Whether rows were added to the sums of their clusters.
    d1, ll : tuple of int
        Bytes, ways and bytes of a line.
    reads, writes : int
        Accesses of the data.
    d1_read_misses, d1_write_misses, ll_read_misses, ll_write_misses : int
    undecided : int
        Rows that rounding left open; they are looked at again, which `simulate` leaves out.
    addresses : dict of str to int
        Where the buffers lay: what `simulate` takes as `known`, to fill the same sets.
    """

    plan: Plan
    update: bool
    d1: tuple[int, int, int]
    ll: tuple[int, int, int]
    reads: int
    writes: int
    d1_read_misses: int
    d1_write_misses: int
    ll_read_misses: int
    ll_write_misses: int
    undecided: int
    addresses: dict[str, int] = field(default_factory=dict)

    @property
    def d1_misses(self) -> int:
        """Misses of the first level, reads and writes."""
        return self.d1_read_misses + self.d1_write_misses

    @property
    def ll_misses(self) -> int:
        """Misses of the last level, reads and writes."""
        return self.ll_read_misses + self.ll_write_misses

    def simulate(self, **choices: Any) -> Simulation:
        """The same pass in simulated caches: same levels, labels, addresses, no early fetches.

        Parameters
        ----------
        **choices
            As `tilewise.lab.simulate.simulate` takes them, in place of those.
        """
        z = self.plan
        same = {
            "config": CacheConfig.of([self.d1[:2], self.ll[:2]], line_bytes=self.d1[2]),
            "prefetch": False, "update": self.update, "known": self.addresses,
            "clusters": np.arange(z.n_samples) % z.n_clusters, "max_rows": z.n_samples,
        }  # fmt: skip
        return simulate(z, **(same | choices))

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-safe values."""
        values = asdict(replace(self, plan=None))
        return values | {
            "plan": self.plan.to_dict(), "d1_misses": self.d1_misses, "ll_misses": self.ll_misses,
        }  # fmt: skip


def available() -> str | None:
    """Why cachegrind cannot run here, or None if it can."""
    if not sys.platform.startswith("linux"):
        return "valgrind is used on Linux only"
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (Debian and Ubuntu: apt install valgrind)"
    from tilewise.kernels._dispatch import available_isas

    if not set(ISAS) & set(available_isas()):
        built = ", ".join(available_isas())
        return f"the kernels of this build ({built}) are not known to run in valgrind"
    return None


def run(
    n_samples: int, n_features: int, n_clusters: int, *, dtype: DTypeLike = "float32",
    chunk_size: ChunkSize = "auto", engine: Engine = "auto", isa: str = "avx2",
    d1: tuple[int, int, int] = (32768, 8, 64), ll: tuple[int, int, int] = (262144, 8, 64),
    update: bool = False, timeout: float = 300.0,
) -> CachegrindResult:  # fmt: skip
    """Count the cache misses of one pass of the real kernels, on one thread.

    A pass runs about fifty times slower than without valgrind, and setting up takes some ten
    seconds; keep rows x features x centres below about a billion.

    Parameters
    ----------
    n_samples, n_features, n_clusters, dtype, chunk_size, engine
        As `tilewise.plan` takes them. Rows are copies of the centres.
    isa : {"avx2", "sse2"}, default="avx2"
    d1, ll : tuple of (bytes, ways, bytes of a line)
        The caches; the number of sets of each must be a power of two.
    update : bool, default=False
        Whether every row is also added to the sums of its cluster.
    timeout : float, default=300
        Seconds after which valgrind is stopped.

    Returns
    -------
    CachegrindResult

    Raises
    ------
    CachegrindError
        If valgrind is missing, fails or takes too long.
    ValueError
        If a cache or an argument of the plan is out of range.
    """
    problem = available()
    if problem is not None:
        raise CachegrindError(f"cachegrind cannot run: {problem}")
    if isa not in ISAS:
        raise ValueError(f"isa={isa!r}: valgrind runs {' and '.join(map(repr, ISAS))}")
    for name, (size, ways, line) in (("d1", d1), ("ll", ll)):
        sets = size // (ways * line)
        if sets < 1 or sets * ways * line != size or sets & (sets - 1):
            raise ValueError(
                f"{name}={(size, ways, line)}: cachegrind needs a power of two of sets, "
                f"this makes {size / (ways * line):g}"
            )
    capped = {
        "isa": Fact(isa, "capped for valgrind"),
        "l1d_bytes": Fact(d1[0], "given to cachegrind"),
        "l2_bytes": Fact(ll[0], "given to cachegrind"),
    }
    sizes = plan(
        n_samples, n_features, n_clusters, dtype, n_threads=1, chunk_size=chunk_size,
        engine=engine, machine=replace(this_machine(), **capped),
    )  # fmt: skip
    nest = dense_nest(replace(sizes, shards_per_call=sizes.n_shards))
    job = {
        "folder": str(Path(__file__).parents[1]),
        "n": sizes.n_samples, "d": sizes.n_features, "k": sizes.n_clusters,
        "dtype": sizes.dtype, "update": update,
        "nest": kernel_sizes(nest),
        "known": ["packed", "half norms", "origin", "workspace"],
    }  # fmt: skip
    # Both at once: they share nothing.
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(_valgrind, job | {"passes": passes}, d1, ll, timeout) for passes in (0, 1)
        ]
        (idle, _), (counts, driver) = (future.result() for future in runs)
    if not driver["right"]:
        raise CachegrindError("the pass under valgrind gave other labels than it should")
    found = {name: counts[name] - idle[name] for name in counts}
    return CachegrindResult(
        sizes, update, d1, ll, found["Dr"], found["Dw"], found["D1mr"], found["D1mw"],
        found["DLmr"], found["DLmw"], driver["undecided"], driver["addresses"],
    )  # fmt: skip


def kernel_sizes(nest: LoopNest) -> dict[str, Any]:
    """What kernels read of a loop nest, as JSON-safe values."""
    buffers = {"workspace": nest.workspace, "shared": nest.shared}
    return asdict(nest) | buffers | {"gathered": nest.gathered}


def rounded(size: int, ways: int, line: int = 64) -> tuple[int, int, int]:
    """A cache that cachegrind can be given: the sets rounded down to a power of two.

    Parameters
    ----------
    size, ways, line : int
        Bytes, ways and bytes of a line; at least one set.

    Returns
    -------
    tuple of (bytes, ways, bytes of a line)

    Examples
    --------
    >>> from tilewise.lab.cachegrind import rounded
    >>> rounded(48 * 1024, 12), rounded(1280 * 1024, 16)
    ((49152, 12, 64), (1048576, 16, 64))
    """
    sets = max(1, size // (ways * line))
    return (1 << sets.bit_length() - 1) * ways * line, ways, line


def _valgrind(job, d1, ll, timeout):
    with tempfile.TemporaryDirectory(prefix="tilewise-") as folder:
        out = Path(folder) / "counts"
        command = [
            "valgrind", "--tool=cachegrind", "--cache-sim=yes", "--branch-sim=no", "-q",
            f"--D1={','.join(map(str, d1))}", f"--LL={','.join(map(str, ll))}",
            "--I1=32768,8,64", f"--cachegrind-out-file={out}",
            sys.executable, "-S", str(Path(__file__).with_name("_driver.py")), json.dumps(job),
        ]  # fmt: skip
        # Without the site module nothing but numpy and scipy need be found; one order of hashes,
        # one BLAS thread and no large pages make both runs alike.
        env = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(_libraries()),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OPENBLAS_CORETYPE": "Haswell",
            "OMP_NUM_THREADS": "1",
            "NPY_DISABLE_CPU_FEATURES": _wide_features(),
        }
        if "LD_LIBRARY_PATH" in os.environ:
            env["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        try:
            done = subprocess.run(
                command, env=env, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise CachegrindError(
                f"valgrind was stopped after {timeout:g} s: give it fewer rows, or more time"
            ) from None
        if done.returncode != 0 or not out.exists():
            words = (done.stderr or done.stdout).strip().splitlines()
            raise CachegrindError(f"valgrind failed: {words[-1] if words else 'without a word'}")
        return parse(out.read_text(encoding="utf-8", errors="replace")), json.loads(
            done.stdout.strip().splitlines()[-1]
        )


def _libraries():
    import scipy

    return dict.fromkeys(str(Path(package.__file__).parents[1]) for package in (np, scipy))


def _wide_features():
    """What numpy must not use: valgrind reports a CPU without AVX-512, but numpy asks the CPU."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:
        return ""
    return " ".join(name for name, on in features.items() if on and re.match("AVX512", name))


def parse(text: str) -> dict[str, int]:
    """Return the totals of an output file of cachegrind, by the name of the event.

    Parameters
    ----------
    text : str

    Raises
    ------
    CachegrindError
        If the text has no line of events or no line of totals.

    Examples
    --------
    >>> from tilewise.lab.cachegrind import parse
    >>> parse("desc: x\\nevents: Ir Dr D1mr\\nfl=a.c\\nfn=f\\n3 7 4 1\\nsummary: 7 4 1\\n")
    {'Ir': 7, 'Dr': 4, 'D1mr': 1}
    """
    events = re.search(r"^events: (.*)$", text, re.MULTILINE)
    totals = re.search(r"^summary: (.*)$", text, re.MULTILINE)
    if events is None or totals is None:
        raise CachegrindError("the output of cachegrind has no events or no summary")
    names, values = events[1].split(), [int(v.replace(",", "")) for v in totals[1].split()]
    if len(names) != len(values):
        raise CachegrindError("the events and the summary of cachegrind do not go together")
    return dict(zip(names, values, strict=True))
