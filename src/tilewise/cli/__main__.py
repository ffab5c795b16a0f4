"""``python -m tilewise.cli``: the console script without its wrapper."""

import sys

from . import main

sys.exit(main())
