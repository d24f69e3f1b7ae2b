"""`editx serve`."""

from __future__ import annotations

from editx.cli.options import ALL_SETTINGS, with_settings
from editx.settings import Settings


@with_settings(ALL_SETTINGS)
def serve(settings: Settings) -> None:
    """Serve the HTTP API until told to stop.

    Every flag is also a variable (--idle-timeout is EDITX_IDLE_TIMEOUT) and a key of the TOML file (idle_timeout).
    Flags win over variables, variables over the file.
    """
    from editx.server import run
    from editx.workshop import open_voices

    open_voices(settings).close()  # a directory that cannot be used is said before anything is started
    run.serve(settings)
