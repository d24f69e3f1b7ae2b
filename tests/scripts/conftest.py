"""Makes the scripts' modules importable, as they are for one another."""

from __future__ import annotations

import sys

from tests.scripts.running import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
