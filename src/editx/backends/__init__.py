"""Where steps are run: `local` in worker processes of this machine."""
