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
    from editx.cli.console import stderr
    from editx.doctor.variables import unknown_variables
    from editx.engines.catalog import catalog
    from editx.server import run
    from editx.workshop import open_voices

    for name, remedy in unknown_variables().items():  # a misspelt EDITX_API_KEY would leave the server open, silently
        stderr().print(f"warning: there is no setting {name}; {remedy}", soft_wrap=True)
    open_voices(settings).close()  # directories that cannot be used are said before anything is started
    catalog(settings.model_path)
    run.serve(settings)
