"""schemathesis reads /openapi.json and tries what it allows, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.running import running_server

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_no_request_that_the_schema_allows_or_forbids_confuses_the_server(tmp_path: Path) -> None:
    with running_server(tmp_path, "--log-level", "warning") as server:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(CONFIG),
                "run",
                f"{server.url}/openapi.json",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
        assert server.client.get("/healthz").status_code == 200
        assert not [line for line in server.log if "Traceback" in line], "\n".join(server.log[-60:])
