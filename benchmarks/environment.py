"""What a result must carry so that it can be read later: machine, versions, settings."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys

import peers
import timing
from report import LOUD

PACKAGES = (
    "tilewise",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-learn-intelex",
    "faiss-cpu",
    "fastkmeans",
    "torch",
    "threadpoolctl",
    "dask",
    "distributed",
    "dask-ml",
    "onnxruntime",
    "skl2onnx",
)
SETTINGS = ("TILEWISE_", "OMP_", "OPENBLAS_", "MKL_", "GOMP_")


def versions():
    """Return the installed version of each package, None where it is missing."""
    told = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            told[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            told[name] = None
    return told


def cpu_model():
    """Return what the system calls the CPU."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit():
    """Return the commit that is measured, with a mark if files differ from it."""
    here = pathlib.Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def tilewise_machine():
    """Return what tilewise believes about the machine, None if it cannot be asked."""
    try:
        import tilewise

        return tilewise.machine().to_dict()
    except (ImportError, AttributeError):
        return None


def peaks():
    """Measure the rates of multiply-adds and of memory, on one thread and on all.

    None without tilewise's probes.
    """
    try:
        from tilewise.kernels import _probe
    except ImportError:
        return None
    told = {}
    for threads in sorted({1, peers.cpu_count()}):
        told[str(threads)] = {
            "fma_gflops": {
                dtype: _probe.fma_gflops(dtype, threads) for dtype in ("float32", "float64")
            },
            "read_gbs": _probe.stream_gbs(threads),
            "store_gbs": {
                "plain": _probe.store_gbs(threads),
                "streaming": _probe.store_gbs(threads, streaming=True),
            },
        }
    return told


def thread_pools():
    """Return the thread pools that are loaded, without the paths of their files."""
    import threadpoolctl

    return [
        {key: value for key, value in pool.items() if key != "filepath"}
        for pool in threadpoolctl.threadpool_info()
    ]


def describe():
    """Return everything that does not change during a run."""
    return {
        "machine": {
            "cpu": cpu_model(),
            "architecture": platform.machine(),
            "cpus": peers.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "tilewise": tilewise_machine(),
            "peaks": peaks(),
        },
        "versions": versions(),
        "commit": commit(),
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)},
        "thread_pools": thread_pools(),
        "quiet": timing.quietness(),
    }


def meter():
    """Return what watches other processes while we measure, or None without tilewise's own."""
    try:
        from tilewise.lab._load import Meter
    except ImportError:
        return None
    return Meter()


def warn_if_loud(quiet):
    """Say on standard error that figures will be worth little, if so."""
    for what, share in (("other processes", quiet["busy"]), ("the hypervisor", quiet["steal"])):
        if share is not None and share > LOUD:
            print(
                f"warning: this machine is not quiet, {share:.0%} of it goes to {what}; "
                "medians will drift",
                file=sys.stderr,
            )
