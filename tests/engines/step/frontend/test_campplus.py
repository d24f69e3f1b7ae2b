"""The speaker embedding is the reference's at every stage, also from the published file's form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from editx.engines.step.frontend.campplus import BLOCKS, CamPlus, ContextMask, statistics
from editx.engines.step.frontend.campplus_onnx import campplus_weights
from editx.engines.step.onnx_weights import read_onnx
from editx.errors import LoadFailed
from tests import golden
from tests.engines.step import onnx_writer as write
from tests.engines.step.frontend.helpers import campplus, exported, noise
from tests.golden import Golden

TOLERANCE = 1e-5


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """What every module gave out, by its name."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> nn.modules.module._forward_hook_t:
        return lambda module, inputs, output: seen.update({name: output})

    hooks = [module.register_forward_hook(keep(name)) for name, module in network.named_modules()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_every_stage(file: Golden) -> None:
    network = campplus(file.salt)
    with watched(network) as seen:
        embedding = network(file["campplus.fbank"])
    stages = {
        "campplus.head": seen["head"][..., 40:48],
        **{f"campplus.{name}": seen[f"xvector.{name}"][..., :16] for name in ("tdnn", "transit1", "transit2")},
        "campplus.out_nonlinear": seen["xvector.out_nonlinear"][..., :16],
        "campplus.stats": statistics(seen["xvector.out_nonlinear"]),
        "campplus.emb": embedding,
        "campplus.emb_short": network(file["fbank"][None]),
    }
    for name, found in stages.items():
        assert found.shape == file[name].shape, name
        assert (found - file[name]).abs().max() <= TOLERANCE, name


@pytest.mark.parametrize("frames", [3, 4, 99, 100, 101, 199, 200, 250])
def test_segments_average_their_own_frames(frames: int) -> None:
    mask = ContextMask(1)
    x_bct = noise("segments", (2, 128, frames))
    context = torch.cat([part.mean(-1, keepdim=True).expand_as(part) for part in x_bct.split(100, -1)], -1)
    context = context + x_bct.mean(-1, keepdim=True)
    with torch.no_grad():
        gate = torch.sigmoid(mask.linear2(F.relu(mask.linear1(context))))
        assert torch.allclose(mask(x_bct), mask.linear_local(x_bct) * gate, atol=1e-6)


def test_equal_lengths_batch() -> None:
    fbank = noise("batch", (3, 57, 80))
    together = campplus()(fbank)
    assert together.shape == (3, 192)
    for row, alone in enumerate(fbank):
        assert (campplus()(alone[None])[0] - together[row]).abs().max() < TOLERANCE


def test_the_exported_file_gives_the_same_embedding(tmp_path: Path) -> None:
    path = tmp_path / "campplus.onnx"
    path.write_bytes(exported(campplus()))
    state = campplus_weights(read_onnx(path))
    with torch.device("meta"):
        network = CamPlus()
    assert set(state) == set(network.state_dict())
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False)
    fbank = noise("exported", (1, 231, 80))
    with watched(campplus()) as expected:
        wanted = campplus()(fbank)
    with watched(network) as found:
        embedding = network(fbank)
    names = ["head", "xvector.tdnn", *(f"xvector.transit{at + 1}" for at in range(len(BLOCKS) - 1))]
    for name in [*names, "xvector.out_nonlinear"]:
        assert (found[name] - expected[name]).abs().max() < TOLERANCE, name
    assert (embedding - wanted).abs().max() < TOLERANCE
    assert F.cosine_similarity(embedding, wanted).min() > 0.9999


def test_a_file_with_unfolded_norms_gives_the_same_weights(tmp_path: Path) -> None:
    """Whether an exporter folds a norm is its own affair."""
    network = campplus()
    folded = exported(network)
    conv = network.xvector.tdnn.linear.weight
    norm = network.xvector.tdnn.nonlinear.batchnorm
    keys = ["weight", "bias", "running_mean", "running_var"]
    nodes = [
        write.node("/xvector/tdnn/linear/Conv2", "Conv", ["x", "plain"]),
        write.node("/xvector/tdnn/nonlinear/batchnorm/BatchNormalization", "BatchNormalization", ["x", *keys]),
    ]
    tensors = [write.tensor(key, tensor.numpy()) for key, tensor in norm.state_dict().items()]
    more = write.model(nodes, [*tensors, write.tensor("plain", conv.numpy())])
    path = tmp_path / "campplus.onnx"
    path.write_bytes(_joined(folded, more))
    with pytest.raises(LoadFailed, match="has a bias at"):
        campplus_weights(read_onnx(path))


def _joined(one: bytes, other: bytes) -> bytes:
    """One model with the graphs of two, which protobuf defines as their concatenation."""
    from editx.engines.step.onnx_weights import _fields

    graphs = [bytes(value) for data in (one, other) for number, value in _fields(memoryview(data)) if number == 7]
    return write.message(7, b"".join(graphs))


def test_what_is_missing_in_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "campplus.onnx"
    path.write_bytes(write.model([], []))
    with pytest.raises(LoadFailed, match=r"campplus\.onnx has no node '/head/conv1/Conv'"):
        campplus_weights(read_onnx(path))
    path.write_bytes(write.model([write.node("/head/conv1/Conv", "Conv", ["x", "w"])], []))
    with pytest.raises(LoadFailed, match="no constant as input 1"):
        campplus_weights(read_onnx(path))


def test_published_size() -> None:
    with torch.device("meta"):
        state = CamPlus().state_dict()
    learnt = sum(tensor.numel() for name, tensor in state.items() if "running" not in name)
    assert learnt == pytest.approx(6.85e6, rel=0.01)
    assert not any(name.endswith("num_batches_tracked") for name in state)
    assert np.prod(state["xvector.block3.tdnnd16.linear1.weight"].shape) == 128 * (512 + 15 * 32)
