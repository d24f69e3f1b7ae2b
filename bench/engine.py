"""How fast the native engine's stages are: seconds, real-time factor, share of the machine's limit, and against plain.

    python bench/engine.py [--device cpu] [--seconds 6 30] [--checkpoint DIR] [--variant base] [--json FILE]

Every stage runs at the published sizes with seeded weights, ours and the plain eager one (`bench/plain_*.py`, straight
from the specification) on the same weights and input in one run, taking turns; the best round of each counts. The limit
is this machine's own: a measured matrix product for work bound by arithmetic, a measured matrix-vector product for work
bound by memory. `--checkpoint` also measures a whole model root: load, first sound, real-time factor, tokenizer cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.plain_decoder import PlainFlow, PlainHift
from bench.plain_lm import PlainLayer, PlainSizes
from bench.plain_tokenizer import PlainLinguisticEncoder

from editx.audio.clip import Clip
from editx.engines.base import Context
from editx.engines.step.decoder import DecoderConfig, DecoderOptions, MelConfig, Precision, SeededNoise, TokenDecoder
from editx.engines.step.decoder.tokens import aligned, dual_frames
from editx.engines.step.decoder.wave_stream import whole
from editx.engines.step.devices import language_model_dtype, resolve
from editx.engines.step.engine import open_engine
from editx.engines.step.lm.model import Step1, prefill
from editx.engines.step.synth.audio_tokenizers import linguistic_shapes
from editx.engines.step.synth.decoder import flow_weights, vocoder_weights
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import FULL
from editx.engines.step.tokenizers.linguistic import LinguisticTokenizer
from editx.engines.step.tokenizers.linguistic_features import Cmvn
from editx.engines.step.tokenizers.sanm import LinguisticNetwork
from editx.recipe import Emotion
from editx.voices import VoiceLibrary

CONTEXT = 1_000
CODES_A_SECOND = 1 / 0.06
FRAMES_A_SECOND = 50
PROMPT_SECONDS = 4
DECODED_SECONDS = 4


@dataclass(frozen=True)
class Row:
    """One stage. `seconds` is ours, `plain` the plain one's; `share` of the limit is None where none is known."""

    stage: str
    seconds: float
    plain: float | None = None
    audio: float | None = None
    share: float | None = None


class Machine:
    """A device, its clock, and what it can do at best."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.dtype = language_model_dtype(device)
        side = 2048
        a, b = (torch.randn(side, side, device=device, dtype=torch.float32) for _ in range(2))
        (product,) = self.best(5, lambda: a @ b)
        self.flops = 2 * side**3 / product
        matrix = torch.randn(16_384, 8_192 // (4 if device.type == "cpu" else 1), device=device, dtype=self.dtype)
        vector = torch.randn(matrix.shape[1], device=device, dtype=self.dtype)
        (read,) = self.best(5, lambda: matrix @ vector)
        self.bandwidth = matrix.nbytes / read

    def best(self, rounds: int, *works: Callable[[], object]) -> list[float]:
        """Seconds of each work's fastest round; the works take turns. Run each once before, to warm up."""
        found = [float("inf")] * len(works)
        for _ in range(rounds):
            for i, work in enumerate(works):
                self._wait()
                began = time.perf_counter()
                work()
                self._wait()
                found[i] = min(found[i], time.perf_counter() - began)
        return found

    def compare(
        self, stage: str, ours: Callable[[], object], plain: Callable[[], object], audio: float, rounds: int
    ) -> Row:
        """A stage that is bound by arithmetic, counted in the plain one: the packed products of ours are not seen."""
        with FlopCounterMode(display=False) as counter:
            plain()
        seconds, other = self.best(rounds, ours, plain)
        return Row(stage, seconds, other, audio, counter.get_total_flops() / self.flops / seconds)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@torch.inference_mode()
def decode_step(machine: Machine) -> Iterator[Row]:
    """One token through one layer with `CONTEXT` tokens before it; bound by reading weights and cache."""
    config = replace(FULL.language, layers=1, vocab_size=320)
    model = Step1(config, device=machine.device, dtype=machine.dtype, max_tokens=CONTEXT + 100)
    plain = PlainLayer(PlainSizes(), dtype=machine.dtype, device=machine.device)
    random = torch.Generator(machine.device).manual_seed(1)
    for name, parameter in model.state_dict().items():
        parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=random)
        if "norm" in name:
            parameter.fill_(1.0)
        if name.startswith("model.layers.0."):
            leaf = name.removeprefix("model.layers.0.").removeprefix("self_attn.").removeprefix("mlp.")
            plain.get_parameter(leaf.removesuffix(".weight") if "norm" in leaf else leaf).copy_(parameter)
    ids = torch.randint(0, 320, (CONTEXT,), generator=random, device=machine.device)
    cache = model.new_cache(1)
    prefill(model, ids[:-1], cache, 0)
    embedded = model.model.embed_tokens(ids)[None]
    _, past = plain(embedded[:, :-1], None)
    layer, at = model.model.layers[0], torch.tensor([CONTEXT - 1], device=machine.device)
    window, bias, x = cache.step(at, CONTEXT), model.bias.at(at[None], CONTEXT), embedded[:, -1:]
    torch.testing.assert_close(layer(x, 0, window, bias), plain(x, past)[0], rtol=0, atol=2e-2)
    seconds, other = machine.best(12, lambda: layer(x, 0, window, bias), lambda: plain(x, past))
    weights = sum(parameter.nbytes for parameter in layer.parameters())
    read = weights + past[0].nbytes + past[1].nbytes
    yield Row(
        f"decode step, one layer, {CONTEXT} tokens of context", seconds, other, None, read / machine.bandwidth / seconds
    )


def linguistic(machine: Machine, lengths: list[float]) -> Iterator[Row]:
    """The linguistic encoder on so many seconds of sound."""
    noise = Noise(0)
    state = {name: noise.weight(name, shape) for name, shape in linguistic_shapes(FULL.linguistic).items()}
    state = {name: tensor.to(machine.device) for name, tensor in state.items()}
    network = LinguisticNetwork(FULL.linguistic).to(machine.device)
    network.load_state_dict(state)
    cmvn = Cmvn(torch.zeros(560), torch.ones(560))
    tokenizer = LinguisticTokenizer(network.eval(), cmvn, noise.weight("linguistic_tokenizer", (1024, 512)))
    plain = PlainLinguisticEncoder(state)
    for seconds in lengths:
        rows = torch.randn(round(seconds * CODES_A_SECOND), 560, device=machine.device)
        torch.testing.assert_close(tokenizer.hidden([rows]), plain.encode(rows), rtol=1e-3, atol=1e-3)

        def ours(rows: torch.Tensor = rows) -> object:
            return tokenizer.hidden([rows])

        def theirs(rows: torch.Tensor = rows) -> object:
            return plain.encode(rows)

        yield machine.compare(f"linguistic tokenizer, {seconds:g} s", ours, theirs, seconds, 2)


@torch.inference_mode()
def decoder(machine: Machine) -> Iterator[Row]:
    """Flow and vocoder on the same mel."""
    noise = Noise(0)
    flow_state = {name: tensor.to(machine.device) for name, tensor in flow_weights(FULL.flow, noise).items()}
    hift_state = {name: tensor.to(machine.device) for name, tensor in vocoder_weights(FULL.vocoder, noise).items()}
    config = DecoderConfig(MelConfig(), FULL.flow, FULL.vocoder)
    tokens = TokenDecoder.load(
        config,
        dict(flow_state),
        dict(hift_state),
        device=machine.device,
        precision=Precision(),
        options=DecoderOptions(),
    )
    random = torch.Generator().manual_seed(0)
    prompt, target = (_tokens(seconds, random) for seconds in (PROMPT_SECONDS, DECODED_SECONDS))
    mel = torch.randn(1, FRAMES_A_SECOND * PROMPT_SECONDS, 80, generator=random)
    embedding = torch.randn(1, 192, generator=random)
    voice = tokens.voice(prompt, mel, embedding)
    drawn = SeededNoise(0, machine.device)
    dual_prompt, dual = dual_frames(prompt).to(machine.device), dual_frames(target).to(machine.device)
    steady = drawn.flow(0, 2 * (len(dual_prompt) + len(dual)))
    rounded = aligned(mel.bfloat16().float(), 2 * len(dual_prompt)).to(machine.device)
    speaker = embedding.bfloat16().float().to(machine.device)
    plain_flow, plain_hift = PlainFlow(flow_state), PlainHift(hift_state)

    def ours() -> torch.Tensor:
        return tokens.offline_mel(target, voice, drawn)

    def theirs() -> torch.Tensor:
        return plain_flow.offline(dual_prompt, dual, rounded, speaker, steady)

    torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-2)
    seconds = len(dual) / 25
    yield machine.compare(f"flow, {seconds:.1f} s after a {PROMPT_SECONDS} s prompt", ours, theirs, seconds, 2)
    made = ours()
    plain_noise = drawn.vocoder(480 * made.shape[2], 9)
    yield machine.compare(
        f"vocoder, {seconds:.1f} s",
        lambda: whole(tokens.vocoder, made, drawn),
        lambda: plain_hift(made, plain_noise),
        seconds,
        3,
    )


def _tokens(seconds: float, random: torch.Generator) -> list[int]:
    """Random mixed tokens, 2 + 3 a group of 0.12 s."""
    groups = round(seconds / 0.12)
    linguistic = torch.randint(0, 1024, (groups, 2), generator=random)
    semantic = torch.randint(1024, 5120, (groups, 3), generator=random)
    return torch.cat([linguistic, semantic], dim=1).flatten().tolist()


def engine(machine: Machine, root: Path, variant: str) -> Iterator[Row]:
    """A whole model root: cold and warm load, first and second edit of one clip."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"model_path": str(root), "device": str(machine.device), "max_batch": 2, "cache": f"{folder}/cache"}
        with VoiceLibrary(Path(folder) / "voices") as library:
            clip = library.get("alloy").clip()
        for moment in ("first, converting .pt files", "again"):
            began = time.perf_counter()
            opened = open_engine(variant, options, lambda progress: None)
            yield Row(f"load {variant}, {moment}", time.perf_counter() - began)
            if moment != "again":
                opened.close()
        for moment in ("first", "second"):
            spent: dict[str, float] = {}
            stage, last, first, samples = "preprocessing", time.perf_counter(), None, 0
            began = last
            for item in opened.run(Emotion("happy"), clip, Context("some words", 1)):
                now = time.perf_counter()
                spent[stage] = spent.get(stage, 0.0) + now - last
                last = now
                if isinstance(item, Clip):
                    first = first or now - began
                    samples += len(item.samples)
                else:
                    stage = item.stage
            seconds = samples / opened.sample_rate
            yield Row(f"{moment} edit of a clip: tokenizers and voice", spent["preprocessing"])
            yield Row(f"{moment} edit of a clip: time to first audio", first or 0.0)
            yield Row(f"{moment} edit of a clip: the whole", time.perf_counter() - began, None, seconds)
        if machine.device.type == "cuda":
            memory = opened.memory()
            print(f"GPU memory: {memory.gpu_allocated / 1e9:.2f} GB held, {memory.gpu_peak / 1e9:.2f} GB at most")
        opened.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, nargs="+", default=[6, 30], help="sound for the linguistic tokenizer")
    parser.add_argument("--checkpoint", type=Path, help="a model root, such as `editx synth-checkpoint` writes")
    parser.add_argument("--variant", default="base")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = Machine(resolve(options.device))
    print(f"{machine.device}: {machine.flops / 1e9:.0f} GFLOP/s in fp32, {machine.bandwidth / 1e9:.1f} GB/s")
    rows: list[Row] = []
    stages = [decode_step(machine), linguistic(machine, options.seconds), decoder(machine)]
    if options.checkpoint:
        stages.append(engine(machine, options.checkpoint, options.variant))
    for row in chain(*stages):
        print(f"measured: {row.stage}", file=sys.stderr)
        rows.append(row)
    table = Table("stage", "seconds", "real-time factor", "share of limit", "plain", "times faster")
    for row in rows:
        table.add_row(
            row.stage,
            f"{row.seconds:.4f}",
            f"{row.seconds / row.audio:.3f}" if row.audio else "",
            f"{row.share:.0%}" if row.share else "",
            f"{row.plain:.4f}" if row.plain else "",
            f"{row.plain / row.seconds:.2f}" if row.plain else "",
        )
    Console(width=130).print(table)
    if options.json:
        limits = {"flops": machine.flops, "bytes_per_second": machine.bandwidth}
        document = {"device": str(machine.device), "limits": limits, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
