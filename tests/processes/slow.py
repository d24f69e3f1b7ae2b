"""A module whose import takes until somebody writes to the named pipe of EDITX_TEST_GATE and closes it."""

import os
from pathlib import Path

Path(os.environ["EDITX_TEST_GATE"]).read_bytes()
