"""`editx pull`, run as a user would, against a hub of the tests' own."""

from __future__ import annotations

from tests.cli.running import CommandLine
from tests.hub.conftest import EDITX, content
from tests.hub.hub import Fault, Hub, running


def small_hub() -> Hub:
    return Hub({
        EDITX: {"config.json": b"{}", "model-00001.safetensors": content(400_000, 1)},
        "stepfun-ai/Step-Audio-Tokenizer": {"linguistic_tokenizer.npy": content(2_000, 2)},
    })  # fmt: skip


def test_weights_are_fetched_and_listed(editx: CommandLine) -> None:
    with running(small_hub()) as hub:
        hub.faults["model-00001.safetensors"] = Fault(breaks=2)
        pulled = editx.json("pull", "--model-path", "models", "--endpoint", hub.url)
        assert [result["directory"] for result in pulled] == ["models/Step-Audio-EditX", "models/Step-Audio-Tokenizer"]
        assert pulled[0]["fetched"] == ["config.json", "model-00001.safetensors"]
        again = editx("pull", "--model-path", "models", EDITX_HUB_ENDPOINT=hub.url)
        assert b"models/Step-Audio-EditX: fetched 0 files, 0.0 MB; kept 2, 0.4 MB" in again.stdout
        assert again.stderr == b""
        (editx.folder / "models/Step-Audio-EditX/config.json").unlink()
        logged = editx("pull", "--model-path", "models", EDITX_HUB_ENDPOINT=hub.url).stderr
        assert logged == b"fetching 1 files, 0.0 MB\nStep-Audio-EditX/config.json  0.0 MB\n"
    fetched = editx.folder / "models" / "Step-Audio-EditX" / "model-00001.safetensors"
    assert fetched.read_bytes() == content(400_000, 1)


def test_offline_lists_what_is_missing(editx: CommandLine) -> None:
    with running(small_hub()) as hub:
        gone = hub.url
    editx("synth-checkpoint", "models")
    (editx.folder / "models/Step-Audio-EditX/tokenizer.model").unlink()
    said = editx.error("pull", "--model-path", "models", "--endpoint", gone, code=6)
    assert "cannot be reached" in said
    assert said.endswith("Needed and not there: models/Step-Audio-EditX/tokenizer.model is missing")


def test_ctrl_c_leaves_a_part_that_the_next_pull_goes_on_with(editx: CommandLine) -> None:
    with running(small_hub()) as hub:
        hub.held = "model-00001.safetensors"
        with editx.start("pull", "--model-path", "models", "--endpoint", hub.url) as terminal:
            terminal.wait_for(r"200\.0/400\.0 kB")
            terminal.interrupt()
            hub.release.set()
            assert terminal.wait() == 130
        hub.held = ""
        editx("pull", "--model-path", "models", "--endpoint", hub.url)
        assert hub.fetched("model-00001.safetensors")[-1].startswith("bytes=")
    fetched = editx.folder / "models" / "Step-Audio-EditX" / "model-00001.safetensors"
    assert fetched.read_bytes() == content(400_000, 1)


def test_a_variant_that_no_hub_gives_away_can_be_made(editx: CommandLine) -> None:
    with running(small_hub()) as hub:
        said = editx.error("pull", "--variant", "awq", "--model-path", "models", "--endpoint", hub.url, code=3)
    assert "Step-Audio-EditX-AWQ-4bit" in said
    assert said.endswith("`editx pull --variant base`, then `editx quantize awq`")


def test_usage_errors(editx: CommandLine) -> None:
    assert "no weights of 'lite'" in editx.error("pull", "--variant", "lite", code=2)
    assert "no source 'elsewhere'" in editx.error("pull", "--source", "elsewhere", code=2)
