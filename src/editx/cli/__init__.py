"""The command line: one file a group of commands, one way to report, and the parts they share."""

from editx.cli.app import main

__all__ = ["main"]
