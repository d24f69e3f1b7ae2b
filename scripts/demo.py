"""Start the server, clone and edit a voice through the API, and watch the model come and go.

Run by `make demo`. Writes the audio under ./demo and exits with 0 when everything held.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

TEXT = "Good morning! This sentence was spoken by EditX, in a voice that it heard for the first time a moment ago."
SHOWN = ("state", "loads", "unloads", "pid", "ram_process_gb", "gpu_memory_process_gb", "time_until_unload")


def show(client: httpx.Client, moment: str) -> dict[str, object]:
    """Print and return what the variants that are available here are doing."""
    rows = client.get("/api/v1/models/status").raise_for_status().json()
    print(f"\nmodel status {moment}:")
    for name, row in rows.items():
        if row["available"]:
            print(f"  {name}: " + ", ".join(f"{key}={row[key]}" for key in SHOWN))
    return rows


def speak(client: httpx.Client, out: Path, **body: object) -> None:
    """Clone a voice and save the stream as it arrives."""
    began = time.monotonic()
    first = None
    with client.stream("POST", "/v1/audio/speech", json=body) as response:
        if response.is_error:
            response.read()
            sys.exit(f"{response.status_code}: {response.text}")
        with out.open("wb") as file:
            for chunk in response.iter_bytes():
                first = first or time.monotonic() - began
                file.write(chunk)
    total = time.monotonic() - began
    print(f"  {out}  {out.stat().st_size} bytes, first audio after {first:.2f} s, complete after {total:.2f} s")


def edit(client: httpx.Client, source: Path, out: Path, steps: list[dict[str, object]], transcript: str) -> None:
    """Edit a recording and save the last result."""
    began = time.monotonic()
    response = client.post(
        "/v1/audio/edits",
        files={"file": (source.name, source.read_bytes())},
        data={"steps": json.dumps(steps), "transcript": transcript, "response_format": "wav"},
    )
    if response.is_error:
        sys.exit(f"{response.status_code}: {response.text}")
    out.write_bytes(response.content)
    seconds = response.headers["X-EditX-Audio-Seconds"]
    print(f"  {out}  {seconds} s of audio after {time.monotonic() - began:.2f} s: {steps}")


def wait_unloaded(client: httpx.Client, deadline_s: float) -> None:
    """Return once nothing is loaded; looking does not keep a model awake."""
    end = time.monotonic() + deadline_s
    while any(row["loaded"] for row in client.get("/api/v1/models/status").json().values()):
        if time.monotonic() > end:
            sys.exit(f"the model is still loaded {deadline_s} s later")
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="directory for the audio")
    parser.add_argument("--idle-timeout", type=float, default=3.0, help="seconds until the model is unloaded")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "editx", "serve", "--port", "0", "--data-dir", data, "--log-level", "warning"]
        server = subprocess.Popen(
            [*command, "--idle-timeout", str(options.idle_timeout)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            if found is None:
                sys.exit("the server did not start; see above")
            with httpx.Client(base_url=found[0], timeout=120) as client:
                walk(client, options)
        finally:
            server.terminate()
            server.wait(30)


def walk(client: httpx.Client, options: argparse.Namespace) -> None:
    show(client, "before the first request")
    print("\ncloning (the first request wakes the model, the second finds it awake):")
    speak(client, options.out / "clone.mp3", model="tts-1", voice="alloy", input=TEXT, seed=1)
    speak(client, options.out / "clone.wav", model="tts-1", voice="onyx", input=TEXT, response_format="wav", seed=1)
    print("\ncloning with an emotion, in one request:")
    speak(client, options.out / "happy.mp3", model="tts-1", voice="nova", input=TEXT, instructions="happy", seed=1)
    print("\nediting:")
    source = options.out / "clone.wav"
    edit(client, source, options.out / "whisper.wav", [{"type": "style", "info": "whisper"}], TEXT)
    laughing = TEXT.replace("!", "! [Laughter]")
    chain: list[dict[str, object]] = [
        {"type": "emotion", "info": "excited"},
        {"type": "paralinguistic", "text": laughing},
        {"type": "speed", "info": "faster"},
    ]
    edit(client, source, options.out / "chain.wav", chain, TEXT)
    show(client, "while the model is awake")
    print(f"\nwaiting for the idle unload ({options.idle_timeout:g} s without a request) …")
    wait_unloaded(client, options.idle_timeout + 10)
    show(client, "after the idle unload")
    print(f"\nThe audio is in {options.out.resolve()}")


if __name__ == "__main__":
    main()
