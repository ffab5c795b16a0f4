#!/usr/bin/env python3
"""Print the version, read from the one place that states it."""

import pathlib
import re

source = pathlib.Path(__file__).parents[1] / "src" / "tilewise" / "_version.py"
print(re.search(r'__version__ = "([^"]+)"', source.read_text()).group(1))
