"""meson-python, with an editable install that can be imported after an isolated build.

An editable install of meson-python runs ninja at every first import. pip builds in an environment
that it deletes afterwards, and with it go Cython, whose own .pxd files ninja then misses, so that
it compiles all again, without a compiler for them; and ninja itself where the system has none.
Here `rebuild.py` stands between: it asks for these tools only where a source has changed.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from mesonpy import (
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable", "build_sdist", "build_wheel", "get_requires_for_build_editable",
    "get_requires_for_build_sdist", "get_requires_for_build_wheel",
]  # fmt: skip

_REBUILD = Path(__file__).parent.resolve() / "rebuild.py"


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build with `rebuild.py` for ninja, so that it is what the editable install runs."""
    import mesonpy

    if sys.platform == "win32":
        # There meson runs ninja, and the path of meson is what an isolated build loses.
        if _isolated():
            raise SystemExit(
                "tilewise: an editable install on Windows needs the build tools to stay. Run:\n"
                "  python tools/build_requirements.py > build-requirements.txt\n"
                "  pip install -r build-requirements.txt\n"
                "  pip install --no-build-isolation --editable ."
            )
        return mesonpy.build_editable(wheel_directory, config_settings, metadata_directory)
    names = (os.environ.get("NINJA"), "ninja", "ninja-build", "samu")
    ninja = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if ninja is not None:
        os.environ["TILEWISE_NINJA"] = ninja
        os.environ["TILEWISE_SCRIPTS"] = sysconfig.get_path("scripts")
        os.environ["NINJA"] = str(_REBUILD)
        if not os.access(_REBUILD, os.X_OK):  # an archive may have lost it
            _REBUILD.chmod(_REBUILD.stat().st_mode | 0o111)
    return mesonpy.build_editable(wheel_directory, config_settings, metadata_directory)


def _isolated():
    import Cython

    return not any(
        Path(Cython.__file__).is_relative_to(sysconfig.get_path(name))
        for name in ("purelib", "platlib")
    )
