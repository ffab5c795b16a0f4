"""What every test may count on."""

import os

# Plans must not depend on what the person who runs the tests has tuned; children inherit it.
os.environ["TILEWISE_TUNING"] = "off"
