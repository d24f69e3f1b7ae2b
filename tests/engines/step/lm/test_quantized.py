"""Quantised projections against the reference, and through a whole model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from editx.engines.step.devices import language_model_dtype
from editx.engines.step.lm.batcher import LanguageModel
from editx.engines.step.lm.config import LanguageModelConfig, Quantization
from editx.engines.step.lm.generation import Generation
from editx.engines.step.lm.int4 import Int4Linear, dequantize, pack, unpack
from editx.engines.step.lm.int4_kernel import kernel_takes
from editx.engines.step.lm.model import Step1, checkpoint_mapping, prefill
from editx.engines.step.lm.nf4 import Nf4Linear, Nf4State
from editx.engines.step.lm.switches import Switches
from editx.errors import LoadFailed
from tests import golden
from tests.engines.step.lm import small

CPU = torch.device("cpu")
AWQ = golden.family("quant_awq")
NF4 = golden.family("quant_bnb")


def key(case: golden.Golden, ending: str) -> str:
    return next(name for name in case.names if name.endswith(ending))


def int4_of(case: golden.Golden, *, kernel: bool, dtype: torch.dtype) -> Int4Linear:
    packed = case[key(case, "weight_packed")]
    out, in_features = case[key(case, "weight_shape")].tolist()
    linear = Int4Linear(
        in_features,
        out,
        group_size=int(case.metadata["group_size"]),
        symmetric=case.metadata.get("symmetric", "true").lower() != "false",
        kernel=kernel,
        device=CPU,
        dtype=dtype,
    )
    if not linear.symmetric:
        linear.weight_zero_point.copy_(case[key(case, "weight_zero_point")])
    linear.weight_packed.copy_(packed)
    linear.weight_scale.copy_(case[key(case, "weight_scale")])
    linear.weight_shape.copy_(case[key(case, "weight_shape")])
    return linear


def nf4_of(case: golden.Golden, dtype: torch.dtype) -> Nf4Linear:
    name = key(case, "quant_state.bitsandbytes__nf4")
    state = Nf4State.parse(case[name].numpy().tobytes(), name)
    linear = Nf4Linear(state.shape[1], state.shape[0], device=CPU, dtype=dtype)
    for buffer in ("absmax", "nested_absmax", "nested_quant_map", "quant_map"):
        getattr(linear, buffer).copy_(case[key(case, f".weight.{buffer}")])
    linear.packed.copy_(case[key(case, ".weight")])
    linear.nested_offset.fill_(state.nested_offset)
    linear.stated_dtype = state.dtype
    return linear


@pytest.mark.parametrize("case", AWQ, ids=repr)
def test_int4_weights(case: golden.Golden) -> None:
    assert torch.equal(int4_of(case, kernel=False, dtype=torch.bfloat16).dequantized(), case["dequantized"])


@pytest.mark.parametrize("case", AWQ, ids=repr)
def test_int4_product(case: golden.Golden) -> None:
    linear = int4_of(case, kernel=True, dtype=torch.float32)
    linear.prepare("p")
    assert linear.laid_out is None
    torch.testing.assert_close(linear(case["x"].float()), case["y_fp32"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", AWQ, ids=repr)
def test_int4_kernel(case: golden.Golden) -> None:
    on, off = (int4_of(case, kernel=kernel, dtype=torch.bfloat16) for kernel in (True, False))
    on.prepare("p")
    off.prepare("p")
    fits = on.symmetric and kernel_takes(on.in_features, on.out_features, on.group_size, CPU)
    assert (on.laid_out is not None) == fits == (on.weight_packed.numel() == 0)
    assert off.laid_out is None
    for y in (on(case["x"]), off(case["x"])):
        torch.testing.assert_close(y.float(), case["y_fp32"], rtol=0.01, atol=0.02)


def test_packing_and_back() -> None:
    numbers = torch.randint(0, 16, (5, 64), dtype=torch.int8)
    assert torch.equal(unpack(pack(numbers)), numbers)


def test_asymmetric_weights() -> None:
    numbers, zero = torch.randint(0, 16, (16, 64)), torch.randint(0, 16, (16, 2))
    scale = torch.rand(16, 2)
    expected = (numbers - zero.repeat_interleave(32, dim=1)) * scale.repeat_interleave(32, dim=1)
    assert torch.equal(dequantize(pack(numbers), scale, pack(zero.T).T), expected)


def test_another_shape_is_refused() -> None:
    linear = int4_of(AWQ[0], kernel=True, dtype=torch.bfloat16)
    linear.weight_shape[0] += 1
    with pytest.raises(LoadFailed, match=r"layer\.k_proj\.weight_shape"):
        linear.prepare("layer.k_proj")


@pytest.mark.parametrize("case", NF4, ids=repr)
def test_nf4_weights(case: golden.Golden) -> None:
    assert torch.equal(nf4_of(case, case["dequantized"].dtype).dequantized(), case["dequantized"])


@pytest.mark.parametrize("case", NF4, ids=repr)
def test_nf4_product(case: golden.Golden) -> None:
    linear = nf4_of(case, torch.float32)
    x = golden.weight("x", (3, linear.in_features))
    torch.testing.assert_close(linear(x), x @ linear.dequantized().T, rtol=0, atol=1e-5)
    assert torch.equal(linear.dequantized(), case["dequantized"].float())


def test_nf4_weights_are_rounded_to_the_dtype_that_is_stated() -> None:
    linear = nf4_of(NF4[0], torch.float32)
    linear.stated_dtype = torch.float32
    exact = linear.dequantized()
    linear.stated_dtype = torch.float16
    assert torch.equal(linear.dequantized(), exact.half().float())
    assert not torch.equal(linear.dequantized(), exact)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"quant_type": "fp4", "blocksize": 64, "nested_blocksize": 256, "shape": [1, 1]}']
)
def test_a_damaged_nf4_state_is_named(text: bytes) -> None:
    with pytest.raises(LoadFailed, match="some key"):
        Nf4State.parse(text, "some key")


KINDS = {
    "int4": Quantization("int4", group_size=32),
    "asymmetric": Quantization("int4", group_size=32, symmetric=False),
    "nf4": Quantization("nf4", group_size=64),
}


def config_of(kind: str) -> LanguageModelConfig:
    return replace(small.CONFIG, hidden_size=192, intermediate_size=256, quantization=KINDS[kind])


def quantised(kind: str, switches: Switches | None = None, dtype: torch.dtype = torch.bfloat16) -> Step1:
    """A small model whose projections hold arbitrary quantised numbers of about the right size."""
    model = Step1(config_of(kind), device="cpu", dtype=dtype, switches=switches, max_tokens=512)
    random = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.dtype in (torch.uint8, torch.int32):
            low, high = (0, 256) if tensor.dtype == torch.uint8 else (-(2**31), 2**31)
            tensor.copy_(torch.randint(low, high, tensor.shape, generator=random).to(tensor.dtype))
        elif name.endswith(("quant_map", "nested_absmax")):
            tensor.copy_(
                torch.linspace(-1, 1, tensor.numel()) if "nested" not in name else torch.ones(tensor.shape) * 0.1
            )
        elif name.endswith("nested_offset"):
            tensor.fill_(0.05)
        elif name.endswith("weight_scale"):
            tensor.fill_(0.02)
        elif not name.endswith("weight_shape"):
            tensor.copy_(golden.weight(name, tuple(tensor.shape)))
    model.prepare()
    return model


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_quantised_models_compute_what_their_weights_say(kind: str) -> None:
    model = quantised(kind, Switches(quantized_kernels=False, written_out=False))
    config = replace(model.config, quantization=None)
    plain = Step1(config, device="cpu", dtype=torch.bfloat16, switches=Switches.none(), max_tokens=64)
    for name, module in model.named_modules():
        if isinstance(module, Int4Linear | Nf4Linear):
            plain.get_parameter(f"{name}.weight").copy_(module.dequantized())
    for name, tensor in model.state_dict().items():
        if name in plain.state_dict():
            plain.state_dict()[name].copy_(tensor)
    ids = torch.arange(5, 25)
    outputs = [m.logits(prefill(m, ids, m.new_cache(1), 0)) for m in (model, plain)]
    assert torch.equal(*outputs)
    assert outputs[0].std() > 0.1


@torch.inference_mode()
def test_the_int4_kernel_changes_nothing_but_rounding() -> None:
    on, off = quantised("int4"), quantised("int4", Switches(quantized_kernels=False, written_out=False))
    assert on.model.layers[0].self_attn.q_proj.laid_out is not None
    ids = torch.arange(5, 25)
    outputs = [m.logits(prefill(m, ids, m.new_cache(1), 0)) for m in (on, off)]
    torch.testing.assert_close(*outputs, rtol=0, atol=0.15)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["asymmetric", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_writing_weights_out_once_changes_nothing_but_rounding(kind: str, dtype: torch.dtype) -> None:
    on, off = (quantised(kind, replace(Switches(), written_out=once), dtype) for once in (True, False))
    assert not [module for module in on.modules() if isinstance(module, Int4Linear | Nf4Linear)]
    assert [module for module in off.modules() if isinstance(module, Int4Linear | Nf4Linear)]
    ids = torch.arange(5, 25)
    outputs = [m.logits(prefill(m, ids, m.new_cache(1), 0)) for m in (on, off)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_where_quantised_models_compute_in_bfloat16(kind: str) -> None:
    """On the CPU only where torch multiplies their weights as they are."""
    config = config_of(kind)
    assert language_model_dtype(torch.device("cuda"), config) == torch.bfloat16
    on_cpu = language_model_dtype(CPU, config)
    assert on_cpu == (torch.bfloat16 if kind == "int4" else torch.float32)
    kernels = [m.has_kernel for m in quantised(kind, dtype=on_cpu).modules() if isinstance(m, Int4Linear)]
    assert bool(kernels) == (kind == "int4")
    assert all(kernels)
    assert language_model_dtype(CPU, replace(config, groups=1)) == torch.float32  # 32 rows are no block


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_requests_together_as_alone(kind: str) -> None:
    model = quantised(kind, dtype=language_model_dtype(CPU, config_of(kind)))
    served = LanguageModel(model, max_batch=3, layout=small.LAYOUT)
    prompts = [[1, 4, *range(5 + 7 * n, 5 + 7 * n + length)] for n, length in enumerate([12, 60, 150])]

    def ask(n: int) -> Generation:
        return served.generate(prompts[n], seed=n, max_new=40)

    def ids(generation: Generation) -> list[int]:
        return [token for block in generation for token in block]

    try:
        alone = [ids(ask(n)) for n in range(3)]
        together = [ids(generation) for generation in [ask(n) for n in range(3)]]
    finally:
        served.close()
    assert together == alone
    assert all(alone)


@torch.inference_mode()
def test_joined_int4_projections_change_nothing() -> None:
    on, off = quantised("int4"), quantised("int4", replace(Switches(), joined_projections=False))
    x = golden.weight("x", (3, 192)).to(torch.bfloat16)
    joined, apart = (model.model.layers[0].self_attn for model in (on, off))
    assert joined.k_proj.laid_out.tiles.data_ptr() > joined.q_proj.laid_out.tiles.data_ptr()
    torch.testing.assert_close(joined.qkv(x), apart.qkv(x), rtol=0, atol=1e-3)
    torch.testing.assert_close(joined.k_proj(x), apart.k_proj(x), rtol=0, atol=1e-3)


def test_keys_of_the_checkpoints() -> None:
    packed = Switches(written_out=False)
    int4, asymmetric, nf4 = (checkpoint_mapping(quantised(kind, packed)) for kind in ("int4", "asymmetric", "nf4"))
    q_proj = "model.layers.0.self_attn.q_proj"
    assert {name for name in int4 if name.startswith(q_proj)} == {
        f"{q_proj}.weight_{part}" for part in ("packed", "scale", "shape")
    }
    assert {name for name in asymmetric if name.startswith(q_proj)} == {
        f"{q_proj}.weight_{part}" for part in ("packed", "scale", "shape", "zero_point")
    }
    assert {
        name.removeprefix(q_proj): target.removeprefix(q_proj) for name, target in nf4.items() if q_proj in name
    } == {
        ".weight": ".packed",
        ".weight.absmax": ".absmax",
        ".weight.quant_map": ".quant_map",
        ".weight.nested_absmax": ".nested_absmax",
        ".weight.nested_quant_map": ".nested_quant_map",
        ".weight.quant_state.bitsandbytes__nf4": ".nested_offset",
    }
    stated = {name.split("k_proj")[-1] for case in NF4 + AWQ for name in case.names if "proj" in name}
    written = {name.split("k_proj")[-1] for name in (*int4, *asymmetric, *nf4) if "k_proj" in name}
    assert {name.rpartition("proj")[2] for name in stated} <= written
