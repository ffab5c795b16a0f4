"""Print what a build without isolation needs, one requirement per line."""

import pathlib
import tomllib

settings = pathlib.Path(__file__).parents[1] / "pyproject.toml"
print(*tomllib.loads(settings.read_text(encoding="utf-8"))["build-system"]["requires"], sep="\n")
# meson-python asks for it only where the system has none; an environment of our own always has.
print("ninja>=1.11")
