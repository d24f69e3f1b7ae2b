"""The prompt's log-mel is the reference's."""

from __future__ import annotations

import pytest
import torch

from editx.engines.step.decoder.config import MelConfig
from editx.engines.step.frontend.mel import prompt_mel
from tests import golden
from tests.golden import Golden


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_prompt_mel(file: Golden) -> None:
    out = prompt_mel(file["wav24"][0], MelConfig(**file.config["mel"]))
    assert out.shape == file["mel24"].shape
    assert (out - file["mel24"]).abs().max() <= 1e-4


@pytest.mark.parametrize("samples", [721, 959, 960, 24_000])
def test_one_frame_every_20_ms(samples: int) -> None:
    assert prompt_mel(torch.zeros(samples), MelConfig()).shape == (1, samples // 480, 80)


def test_configurations_with_one_fmax_do_not_collide() -> None:
    x_n = torch.from_numpy(golden.normal("collide", (4800,)))
    assert prompt_mel(x_n, MelConfig(num_mels=80)).shape[-1] == 80
    assert prompt_mel(x_n, MelConfig(num_mels=40)).shape[-1] == 40
