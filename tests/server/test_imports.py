"""The server process stays light: no engine, no torch, no onnxruntime, whatever it has served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys, tempfile, threading, urllib.request
from editx.server.run import _listen
import uvicorn
from editx.server.app import create_app
from editx.settings import load_settings

server = uvicorn.Server(uvicorn.Config(create_app(load_settings(data_dir=tempfile.mkdtemp())), log_config=None))
listener = _listen("127.0.0.1", 0)
thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
thread.start()
body = json.dumps({"input": "One two.", "voice": "alloy", "response_format": "opus", "speed": 1.1}).encode()
url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/audio/speech"
request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
assert len(urllib.request.urlopen(request).read()) > 1000
server.should_exit = True
thread.join()
print(json.dumps(sorted(sys.modules)))
"""


def test_serving_imports_no_engine(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    modules = set(json.loads(run.stdout))
    assert "editx.server.app" in modules
    for banned in (
        "torch",
        "onnxruntime",
        "pyworld",
        "espeakng_loader",
        "scipy",
        "editx.engines.lite",
        "editx.engines.step",
    ):
        assert not [name for name in modules if name == banned or name.startswith(f"{banned}.")], banned
