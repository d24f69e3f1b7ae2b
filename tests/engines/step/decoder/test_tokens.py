import pytest
import torch

from editx.engines.step.decoder.flow import DualEmbedding
from editx.engines.step.decoder.tokens import aligned, checked, dual_frames, dual_length, mixed_length, nearest_index
from editx.errors import InvalidRequest
from tests.engines.step.decoder.golden_decoder import cases, close, flow_config
from tests.golden import Golden, weight


@pytest.mark.parametrize("golden", cases("decoder_tokens"))
def test_mixed_tokens_become_dual_frames(golden: Golden) -> None:
    names = [name.removesuffix(".mixed") for name in golden.names if name.endswith(".mixed")]
    assert names
    for name in names:
        mixed = golden[f"{name}.mixed"].tolist()
        assert torch.equal(dual_frames(mixed), golden[f"{name}.dual"])
        assert dual_length(len(mixed)) == len(golden[f"{name}.dual"])


@pytest.mark.parametrize("golden", cases("decoder_tokens"))
def test_nearest_alignment_is_that_of_fp32(golden: Golden) -> None:
    names = [name.removesuffix(".lens") for name in golden.names if name.endswith(".lens")]
    assert names
    for name in names:
        length, target = golden[f"{name}.lens"].tolist()
        assert torch.equal(nearest_index(length, target), golden[f"{name}.out_index"])


@pytest.mark.parametrize("golden", cases("decoder_tokens"))
def test_dual_embedding(golden: Golden) -> None:
    config = flow_config(golden)
    embedding = DualEmbedding(config.vocab_size, config.input_size)
    table = weight("input_embedding.embedding.weight", (config.vocab_size, config.input_size // 2), golden.salt)
    embedding.load_state_dict({"embedding.weight": table})
    close(embedding(golden["embed.tokens"]), golden["embed.out"], 0)


def test_alignment_copies_frames() -> None:
    mel = torch.arange(6.0).view(1, 3, 2)
    assert aligned(mel, 6)[0, :, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert aligned(mel, 3).equal(mel)


@pytest.mark.parametrize(("frames", "tokens"), [(15, 25), (24, 40), (48, 80), (3, 5)])
def test_frames_in_mixed_tokens(frames: int, tokens: int) -> None:
    assert mixed_length(frames) == tokens


def test_text_ids_are_reported_and_clamped(caplog: pytest.LogCaptureFixture) -> None:
    dual = dual_frames(checked([-7, 3, 1024, -1, 1030]))
    assert dual.tolist() == [[0, 1025], [3, 0], [1024, 1031]]
    assert "2 of 5 audio tokens" in caplog.text


def test_a_token_past_the_table_is_refused() -> None:
    assert dual_frames(checked([0, 0, 5119, 5119, 5119]))[0, 1] == 5120
    with pytest.raises(InvalidRequest, match="audio token 5120 at position 3") as raised:
        checked([0, 0, 1024, 5120, 1024], "prompt_tokens")
    assert raised.value.param == "prompt_tokens"
