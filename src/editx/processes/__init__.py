"""Child processes that are cheap to start, cannot outlive the server, and are heard to the last line."""
