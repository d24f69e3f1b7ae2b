"""What the language model costs: a layer against the plain one, and whole decode steps as they are served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from bench.machine import Machine
from bench.plain_lm import PlainLayer, PlainSizes, randomise
from bench.row import Row
from torch import Tensor

from editx.engines.step.devices import language_model_dtype
from editx.engines.step.lm.config import Quantization
from editx.engines.step.lm.decode import Decoding, StepShape
from editx.engines.step.lm.graph import fastest_runner
from editx.engines.step.lm.int4 import Int4Linear, pack
from editx.engines.step.lm.model import Step1, chunk_size, prefill
from editx.engines.step.lm.nf4 import Nf4Linear
from editx.engines.step.lm.sampling import SamplingOptions, uniforms
from editx.engines.step.quantize_formats import NF4
from editx.engines.step.synth.sizes import Sizes
from editx.engines.step.text.audio_tokens import TokenLayout

CONTEXT = 1_000
LAYOUT = TokenLayout(eos=3, audio_base=100, linguistic=1024, semantic=4096)
"""Audio tokens as published behind few others: the head that is computed is as large, the tables take no memory."""
CPU_LAYERS = 2
"""A whole model takes 14 GB in float32."""


def quantization(sizes: Sizes, variant: str) -> Quantization | None:
    """How a variant stores its projections."""
    kinds = {"awq": Quantization("int4", sizes.group), "bnb": Quantization("nf4", 64)}
    return kinds.get(variant)


def seeded(machine: Machine, sizes: Sizes, variant: str, layers: int) -> Step1:
    """A model with weights that keep activations near 1, not prepared yet."""
    config = replace(
        sizes.language,
        layers=layers,
        vocab_size=LAYOUT.audio_end,
        quantization=quantization(sizes, variant),
    )
    dtype = language_model_dtype(machine.device, config)
    model = Step1(config, device=machine.device, dtype=dtype, max_tokens=CONTEXT + 200)
    random = torch.Generator(machine.device).manual_seed(1)
    randomise(model, random)
    for module in model.modules():
        if isinstance(module, Int4Linear):
            # -7 to 7, without -8: rows with a mean would all add up.
            shape = (module.out_features, module.in_features)
            module.weight_packed.copy_(pack(torch.randint(1, 16, shape, generator=random, device=machine.device)))
            module.weight_scale.fill_(module.in_features**-0.5 / 4.3)
        elif isinstance(module, Nf4Linear):
            module.packed.random_(0, 256, generator=random)
            module.quant_map.copy_(torch.tensor(NF4))
            # Every block's factor is the offset.
            module.nested_offset.fill_(module.in_features**-0.5 / 0.55)
            for rest in (module.absmax, module.nested_absmax, module.nested_quant_map):
                rest.zero_()
    return model


def dense(layer: torch.nn.Module) -> dict[str, Tensor]:
    """A layer's weights by key, written out where they are quantised."""
    found = dict(layer.named_parameters())
    for name, module in layer.named_modules():
        if isinstance(module, Int4Linear | Nf4Linear):
            found[f"{name}.weight"] = module.dequantized()
    return found


def stored(module: torch.nn.Module) -> int:
    """Bytes of its weights as the checkpoint holds them, before `prepare`."""
    return sum(tensor.nbytes for tensor in module.state_dict().values())


@torch.inference_mode()
def layer(machine: Machine, sizes: Sizes, variant: str) -> Iterator[Row]:
    """One layer: a token with `CONTEXT` tokens before it, bound by reading the weights as they are stored, and the
    cache; and for `base` a prompt of that length, bound by arithmetic."""
    model = seeded(machine, sizes, variant, layers=1)
    config, dtype, part = model.config, model.dtype, model.model.layers[0]
    shape = PlainSizes(config.hidden_size, config.intermediate_size, config.heads, config.groups)
    plain = PlainLayer(shape, dtype=dtype, device=machine.device)
    plain.fill(dense(part))
    weights = stored(part)
    model.prepare()
    random = torch.Generator(machine.device).manual_seed(2)
    ids = torch.randint(0, config.vocab_size, (CONTEXT,), generator=random, device=machine.device)
    cache = model.new_cache(1)
    chunk = chunk_size(model, CONTEXT)
    prefill(model, ids[:-1], cache, 0, chunk_tokens=chunk)
    embedded = model.model.embed_tokens(ids)[None]
    _, past = plain(embedded[:, :-1], None)
    at = torch.tensor([CONTEXT - 1], device=machine.device)
    window, bias, x = cache.step(at, CONTEXT), model.bias.at(at[None], CONTEXT), embedded[:, -1:]
    atol, rtol = (1e-3, 0.0) if dtype == torch.float32 else (0.1, 0.05)
    yield machine.compare(
        f"decode step, {variant}, one layer, {CONTEXT} tokens of context",
        lambda: part(x, 0, window, bias),
        lambda: plain(x, past)[0],
        atol=atol,
        rtol=rtol,
        read=weights + past[0].nbytes + past[1].nbytes,
        dtype=dtype,
    )
    if variant == "base":
        yield machine.compare(
            f"prompt of {CONTEXT} tokens, one layer",
            lambda: prefill(model, ids, cache, 0, chunk_tokens=chunk),
            lambda: model.model.norm(plain(embedded, None)[0])[0],
            atol=atol,
            rtol=rtol,
            dtype=dtype,
        )


def steps(machine: Machine, sizes: Sizes, variant: str, max_batch: int) -> Iterator[Row]:
    """Whole decode steps with seeded weights: of all layers on an accelerator, of a few on the CPU."""
    layers = min(sizes.language.layers, CPU_LAYERS) if machine.device.type == "cpu" else sizes.language.layers
    with torch.inference_mode():
        model = seeded(machine, sizes, variant, layers)
        weights = stored(model.model.layers)
        model.prepare()
        name = f"{variant}, {layers} of {sizes.language.layers} layers"
        yield from served_steps(machine, model, name, weights, max_batch, LAYOUT)


@torch.inference_mode()
def served_steps(
    machine: Machine, model: Step1, name: str, weights: int, max_batch: int, layout: TokenLayout
) -> Iterator[Row]:
    """Steps as the scheduler runs them, sampling included, in a CUDA graph on CUDA and row by row on the CPU: for one
    request and for `max_batch`, each with `CONTEXT` tokens. Bound by reading the layers' `weights` bytes once, the
    audio tokens' rows of the head, and all caches."""
    times = 4 if machine.device.type == "cpu" else 64
    prompt = [layout.audio_base + at % layout.linguistic for at in range(CONTEXT)]
    decoding = Decoding(model, model.new_cache(max_batch, CONTEXT + times + 8), layout)
    runner, config, options = fastest_runner(decoding), model.config, SamplingOptions()
    width = torch.finfo(model.dtype).bits // 8
    head = (layout.linguistic + layout.semantic + 1) * config.hidden_size * width
    cached = 2 * config.kv_size * CONTEXT * config.layers * width

    for batch in sorted({1, max_batch}):

        def work(batch: int = batch) -> None:
            for row in range(batch):
                decoding.rows.begin(row, prompt, options, uniforms(row, times))
            for step in range(times):
                keys = CONTEXT + step
                runner.step([StepShape(1, keys, wide=options.wide, free=False)] * batch, keys)

        yield machine.alone(
            f"whole decode step, {name}, batch {batch}",
            work,
            read=weights + head + batch * cached,
            times=times,
            tokens=batch,
        )
