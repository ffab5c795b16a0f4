#!/usr/bin/env python3
"""Print the files of one folder that belong into an installed package, one a line."""

import pathlib
import sys

KEPT = {".py", ".pyi", ".pxd", ".typed", ".json", ".css", ".js", ".j2"}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if path.suffix in KEPT or path.name == "py.typed":
        print(path.name)
