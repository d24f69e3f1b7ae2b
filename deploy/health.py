"""Exits 0 while the server of this container answers, 1 otherwise. Asking wakes no model."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4


def healthy(port: int) -> bool:
    """Whether /healthz on this machine's `port` says so."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(int(os.environ.get("EDITX_PORT", "7860"))) else 1)
