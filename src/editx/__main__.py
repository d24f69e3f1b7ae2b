"""`python -m editx` is `editx`."""

from editx.cli import main

main()
