"""The resampler gives the reference's samples, for every pair of rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from editx.engines.step.audio import resample as module
from editx.engines.step.audio.resample import dense_kernels, resample
from editx.errors import InvalidRequest
from tests import golden
from tests.golden import Golden

TOLERANCE = 2e-6


@pytest.mark.parametrize("file", golden.family("audio_resample"), ids=repr)
def test_every_pair_of_rates(file: Golden) -> None:
    cases = [name.removesuffix(".in") for name in file.names if name.endswith(".in")]
    assert cases
    for case in cases:
        old, new = map(int, case.split("_"))
        out, expected = resample(file[f"{case}.in"], old, new), file[f"{case}.out"]
        assert out.shape == expected.shape, case
        assert (out - expected).abs().max() <= TOLERANCE, case


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_prompt_waves(file: Golden) -> None:
    for source, target, old, new in (
        ("wav24", "wav16", 24000, 16000),
        ("wav44", "wav44_to_24", 44100, 24000),
        ("wav44", "wav44_to_16", 44100, 16000),
        ("wav16", "wav16_to_24", 16000, 24000),
    ):
        expected = file[target]
        used = expected.shape[-1] * old // new if target == "wav16_to_24" else file[source].shape[-1]
        out = resample(file[source][..., :used], old, new)
        assert out.shape == expected.shape, target
        assert (out - expected).abs().max() <= 5e-6, target


@pytest.mark.parametrize(("old", "new"), [(3, 2), (441, 160), (160, 441), (1, 2), (6, 1), (441, 240), (997, 16)])
@pytest.mark.parametrize("length", [1, 5, 400, 3001])
def test_gathering_is_convolving(old: int, new: int, length: int) -> None:
    x_bn = torch.from_numpy(golden.normal("resample", (2, length)))
    wanted = -(-new * length // old)
    convolved = module._by_convolution(x_bn, old, new)[:, :wanted]
    gathered = module._by_gathering(x_bn, old, new)[:, :wanted]
    assert convolved.shape == gathered.shape == (2, wanted)
    assert (convolved - gathered).abs().max() < TOLERANCE


@pytest.mark.parametrize("old", [44101, 1000, 767_999, 8000, 12345])
def test_odd_rates_keep_a_tone(old: int) -> None:
    """Rates without a common divisor have thousands of phases; a tone comes out as that tone all the same."""
    seconds, hz = 0.2, 180.0
    times = torch.arange(int(old * seconds), dtype=torch.float64) / old
    out = resample(torch.sin(2 * math.pi * hz * times).float(), old, 16000)
    expected = torch.sin(2 * math.pi * hz * torch.arange(len(out), dtype=torch.float64) / 16000)
    inner = slice(400, -400)
    assert (out[inner] - expected[inner]).abs().max() < 0.01


def test_equal_rates_change_nothing() -> None:
    x_n = torch.ones(5)
    assert resample(x_n, 16000, 16000) is x_n


def test_leading_dimensions_are_kept() -> None:
    x = torch.from_numpy(golden.normal("leading", (2, 3, 50)))
    out = resample(x, 48000, 16000)
    assert out.shape == (2, 3, 17)
    assert torch.allclose(out[1, 2], resample(x[1, 2], 48000, 16000), atol=1e-6)


def test_nothing_stays_nothing() -> None:
    assert resample(torch.zeros(0), 48000, 16000).shape == (0,)


def test_kernels_are_kept() -> None:
    assert dense_kernels(441, 160) is dense_kernels(441, 160)
    assert dense_kernels(441, 160).dtype == torch.float32
    assert np.isclose(dense_kernels(3, 1).sum(), 1, atol=1e-3)


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 10**12])
def test_rates_nobody_records_at_are_refused(rate: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{rate} Hz cannot be used") as caught:
        resample(torch.zeros(10), rate, 16000)
    assert caught.value.param == "audio"
