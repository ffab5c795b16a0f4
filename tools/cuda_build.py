"""Get a checkout ready for `make test-cuda` and `make bench-cuda`, or say why that is impossible.

The Python that runs this has torch and triton. If it cannot import tilewise's kernels from src/,
they are built in place, with the meson and ninja of this Python.
"""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
KERNELS = ROOT / "src" / "tilewise" / "kernels"
BUILD = ROOT / "build" / f"cuda-{sys.implementation.cache_tag}"


def trouble():
    """Why nothing can run on a GPU here, as a sentence; None if it can."""
    missing = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
    if missing:
        lacks = f"{sys.executable} lacks {' and '.join(missing)}"
        return f"{lacks}: set CUDA_PYTHON to one that has them"
    import torch

    if torch.cuda.is_available():
        return None
    return (
        "torch sees no GPU. `make test-interpreter` runs the same tests on the CPU, through "
        "Triton's interpreter"
    )


def can_import():
    """Whether this Python can import tilewise from src/, with all kernels of this checkout."""
    wanted = {path.stem for path in KERNELS.glob("*.pyx")}
    names = ", ".join(sorted(wanted))
    code = f"import tilewise; from tilewise.kernels import {names}"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    return run.returncode == 0


def build():
    """Compile the kernels and put them beside their sources."""
    tools = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": tools}
    if not (BUILD / "build.ninja").exists():
        setup = ["meson", "setup", str(BUILD), str(ROOT), "--buildtype=release"]
        subprocess.run(setup, env=environment, check=True)
    subprocess.run(["ninja", "-C", str(BUILD)], env=environment, check=True)
    for module in (BUILD / "src" / "tilewise" / "kernels").glob("*.so"):
        target = KERNELS / module.name
        target.unlink(missing_ok=True)  # a program that has it open keeps the old one
        shutil.copy2(module, target)


def main():
    """Build if need be."""
    problem = trouble()
    if problem:
        sys.exit(problem)
    if not can_import():
        print("building the kernels in place", flush=True)
        build()
    if not can_import():
        sys.exit("tilewise cannot be imported from src/ after it was built")


if __name__ == "__main__":
    main()
