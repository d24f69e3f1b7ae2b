"""How fast the native engine's stages are: seconds, real-time factor, share of the machine's limit, and against plain.

    python bench/engine.py [--device cpu] [--seconds 6 30] [--checkpoint DIR] [--variant base] [--json FILE]

Every stage runs at the published sizes with seeded weights, ours and the plain eager one (`bench/plain_*.py`, straight
from the specification) on the same weights and input in one run, taking turns; their results are compared first. The
limit is this machine's own: a matrix product for work bound by arithmetic, a matrix-vector product for work bound by
memory, which take their turns too. What counts is the middle of all rounds, of seconds as of ratios within a round:
neighbours come and go on a shared machine, and slow down all that runs in the same moment. `--checkpoint` also measures
a whole model root: load, first sound, real-time factor, tokenizer cache.
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
from statistics import median, quantiles

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.plain_decoder import PlainFlow, PlainHift
from bench.plain_lm import PlainLayer, PlainSizes, randomise
from bench.plain_tokenizer import PlainLinguisticEncoder

from editx.audio.clip import Clip
from editx.engines.base import Context
from editx.engines.step.decoder import DecoderConfig, DecoderOptions, MelConfig, Precision, SeededNoise, TokenDecoder
from editx.engines.step.decoder.tokens import aligned, dual_frames
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
MIN_ROUNDS, MAX_ROUNDS, ROUNDS_S = 3, 25, 15.0
"""Long works need few rounds: what comes and goes meanwhile evens out within one."""


@dataclass(frozen=True)
class Row:
    """One stage. `seconds` is ours, `plain` the plain one's, `faster` their ratio with its lowest and highest quarter;
    `share` of the limit."""

    stage: str
    seconds: float
    plain: float | None = None
    faster: tuple[float, float, float] | None = None
    audio: float | None = None
    share: float | None = None


class Machine:
    """A device, its clock, and what it can do at best."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.dtype = language_model_dtype(device)
        side = 2048
        a, b = (torch.randn(side, side, device=device, dtype=torch.float32) for _ in range(2))
        self._multiply, self._operations = lambda: a @ b, 2 * side**3
        # As many bytes as a layer has, so that caches are of as little help.
        matrix = torch.randn(3072, 31_232, device=device, dtype=self.dtype)
        vector = torch.randn(matrix.shape[1], device=device, dtype=self.dtype)
        self._read, self._bytes = lambda: matrix @ vector, matrix.nbytes
        self._multiply(), self._read()
        multiplied, read = self.rounds(self._multiply, self._read)
        self.flops, self.bandwidth = self._operations / median(multiplied), self._bytes / median(read)

    def rounds(self, *works: Callable[[], object]) -> list[list[float]]:
        """Seconds of each work in each of several rounds, in which the works take turns. Warm them up before."""
        found: list[list[float]] = [[] for _ in works]
        until = time.perf_counter() + ROUNDS_S
        while len(found[0]) < MIN_ROUNDS or (len(found[0]) < MAX_ROUNDS and time.perf_counter() < until):
            for seconds, work in zip(found, works, strict=True):
                self._wait()
                began = time.perf_counter()
                work()
                self._wait()
                seconds.append(time.perf_counter() - began)
        return found

    def compare(
        self,
        stage: str,
        ours: Callable[[], torch.Tensor],
        plain: Callable[[], torch.Tensor],
        *,
        atol: float,
        rtol: float = 0.0,
        audio: float | None = None,
        read: int = 0,
    ) -> Row:
        """Check that both give the same, then time them. The stage is bound by reading `read` bytes; if that is 0 by
        arithmetic, which is counted in the plain one, since the packed products of ours are not seen."""
        with FlopCounterMode(display=False) as counter:
            expected = plain()
        torch.testing.assert_close(ours(), expected, rtol=rtol, atol=atol)
        if read:
            limit, work = self._read, read / self._bytes
        else:
            limit, work = self._multiply, counter.get_total_flops() / self._operations
        mine, other, best = self.rounds(ours, plain, limit)
        ratios = [b / a for a, b in zip(mine, other, strict=True)]
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        share = median(work * c / a for a, c in zip(mine, best, strict=True))
        return Row(stage, median(mine), median(other), (median(ratios), low, high), audio, share)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@torch.inference_mode()
def decode_step(machine: Machine) -> Iterator[Row]:
    """One token through one layer with `CONTEXT` tokens before it; bound by reading weights and cache."""
    config = replace(FULL.language, layers=1, vocab_size=320)
    model = Step1(config, device=machine.device, dtype=machine.dtype, max_tokens=CONTEXT + 100)
    random = torch.Generator(machine.device).manual_seed(1)
    randomise(model, random)
    layer, plain = model.model.layers[0], PlainLayer(PlainSizes(), dtype=machine.dtype, device=machine.device)
    plain.fill(layer.state_dict())
    weights = sum(parameter.nbytes for parameter in layer.parameters())
    model.prepare()
    ids = torch.randint(0, 320, (CONTEXT,), generator=random, device=machine.device)
    cache = model.new_cache(1)
    prefill(model, ids[:-1], cache, 0)
    embedded = model.model.embed_tokens(ids)[None]
    _, past = plain(embedded[:, :-1], None)
    at = torch.tensor([CONTEXT - 1], device=machine.device)
    window, bias, x = cache.step(at, CONTEXT), model.bias.at(at[None], CONTEXT), embedded[:, -1:]
    yield machine.compare(
        f"decode step, one layer, {CONTEXT} tokens of context",
        lambda: layer(x, 0, window, bias),
        lambda: plain(x, past)[0],
        atol=2e-2,
        read=weights + past[0].nbytes + past[1].nbytes,
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

        def ours(rows: torch.Tensor = rows) -> torch.Tensor:
            return tokenizer.hidden([rows])

        def theirs(rows: torch.Tensor = rows) -> torch.Tensor:
            return plain.encode(rows)

        stage = f"linguistic tokenizer, {seconds:g} s"
        yield machine.compare(stage, ours, theirs, atol=1e-3, rtol=1e-3, audio=seconds)


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

    seconds = len(dual) / 25
    stage = f"flow, {seconds:.1f} s after a {PROMPT_SECONDS} s prompt"
    yield machine.compare(stage, ours, theirs, atol=1e-2, rtol=1e-3, audio=seconds)
    made = ours()
    noise_bsh = drawn.vocoder(480 * made.shape[2], 9)
    yield machine.compare(
        f"vocoder, {seconds:.1f} s",
        lambda: tokens.vocoder(made, noise_bsh)[0],
        lambda: plain_hift(made, noise_bsh)[0],
        atol=1e-3,
        audio=seconds,
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
            yield Row(f"{moment} edit of a clip: the whole", time.perf_counter() - began, audio=seconds)
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
    table = Table("stage", "seconds", "real-time factor", "share of limit", "plain", "times faster (middle half)")
    for row in rows:
        table.add_row(
            row.stage,
            f"{row.seconds:.4f}",
            f"{row.seconds / row.audio:.3f}" if row.audio else "",
            f"{row.share:.0%}" if row.share else "",
            f"{row.plain:.4f}" if row.plain else "",
            "{:.2f} ({:.2f} to {:.2f})".format(*row.faster) if row.faster else "",
        )
    Console(width=130).print(table)
    if options.json:
        limits = {"flops": machine.flops, "bytes_per_second": machine.bandwidth}
        document = {"device": str(machine.device), "limits": limits, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
