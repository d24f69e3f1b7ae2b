"""The speaker embedding is the reference's at every stage, also from the published file's form."""

from __future__ import annotations

import re
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
from editx.engines.step.onnx_weights import _fields, read_onnx
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
        # A short clip has no frames as far in as the head is looked at.
        assert not found.numel() or (found - file[name]).abs().max() <= TOLERANCE, name


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


def test_whether_norms_are_folded_is_the_exporters_affair(tmp_path: Path) -> None:
    path = tmp_path / "campplus.onnx"
    path.write_bytes(exported(campplus(), fold=False))
    state, expected = campplus_weights(read_onnx(path)), campplus().state_dict()
    assert set(state) == set(expected)
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), name


def test_a_bias_beside_a_norm_is_refused(tmp_path: Path) -> None:
    """It would be lost: the public checkpoint has no such bias."""
    names = ["weight", "bias", "running_mean", "running_var"]
    norm = write.node("/xvector/tdnn/nonlinear/batchnorm/BatchNormalization", "BatchNormalization", ["x", *names])
    tensors = [write.message(5, write.tensor(name, np.ones(128, np.float32))) for name in names]
    content = exported(campplus())
    graph = next(bytes(value) for number, value in _fields(memoryview(content)) if number == 7)
    path = tmp_path / "campplus.onnx"
    path.write_bytes(write.message(7, graph + write.message(1, norm) + b"".join(tensors)))
    with pytest.raises(LoadFailed, match=r"has a bias at \['xvector\.tdnn\.linear'\]"):
        campplus_weights(read_onnx(path))


def test_another_epsilon_is_refused(tmp_path: Path) -> None:
    content = exported(campplus()).replace(np.float32(1e-5).tobytes(), np.float32(1e-3).tobytes())
    path = tmp_path / "campplus.onnx"
    path.write_bytes(content)
    with pytest.raises(LoadFailed, match="epsilon"):
        campplus_weights(read_onnx(path))


def test_nodes_are_where_the_published_file_has_them(tmp_path: Path) -> None:
    """The names that spec 60 §4.1 gives; a file without one of them is refused by that name."""
    content = exported(campplus())
    for name in (
        "/head/conv1/Conv",
        "/head/layer1/layer1.0/conv1/Conv",
        "/head/layer1/layer1.0/shortcut/shortcut.0/Conv",
        "/xvector/tdnn/linear/Conv",
        "/xvector/block1/tdnnd1/linear1/Conv",
        "/xvector/transit1/linear/Conv",
        "/xvector/dense/linear/Conv",
        "/xvector/block1/tdnnd1/nonlinear1/batchnorm/BatchNormalization",
    ):
        path = tmp_path / "campplus.onnx"
        path.write_bytes(content.replace(name.encode(), name.replace("/", "?").encode()))
        graph = read_onnx(path)
        assert name not in graph.nodes
        if name.endswith("Conv"):
            with pytest.raises(LoadFailed, match=re.escape(repr(name))):
                campplus_weights(graph)
        else:
            assert set(campplus_weights(graph)) == set(campplus().state_dict())


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
