"""`editx`, which is `python -m editx` too."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process, and exit with its code. Importing it takes long enough for a Ctrl-C."""
    try:
        from editx.cli import main as run

        run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
