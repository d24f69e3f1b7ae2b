"""What it costs to turn tokens into sound: flow and vocoder against the plain ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from bench.machine import Machine
from bench.plain_decoder import PlainFlow, PlainHift
from bench.row import Row

from editx.engines.step.decoder import DecoderConfig, MelConfig, Precision, SeededNoise, TokenDecoder
from editx.engines.step.decoder.tokens import aligned, dual_frames
from editx.engines.step.synth.decoder import flow_weights, vocoder_weights
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import Sizes

FRAMES_A_SECOND = 50
PROMPT_SECONDS = 4
DECODED_SECONDS = 4


@torch.inference_mode()
def decoder(machine: Machine, sizes: Sizes) -> Iterator[Row]:
    """Flow and vocoder on the same mel, and the flow as it is served where that is another precision."""
    noise, place = Noise(0), machine.device
    flow_state = {name: tensor.to(place) for name, tensor in flow_weights(sizes.flow, noise).items()}
    hift_state = {name: tensor.to(place) for name, tensor in vocoder_weights(sizes.vocoder, noise).items()}
    config = DecoderConfig(MelConfig(), sizes.flow, sizes.vocoder)

    def load(precision: Precision) -> TokenDecoder:
        return TokenDecoder.load(config, dict(flow_state), dict(hift_state), device=place, precision=precision)

    exact = load(Precision())
    random = torch.Generator().manual_seed(0)
    prompt, target = (_tokens(seconds, random) for seconds in (PROMPT_SECONDS, DECODED_SECONDS))
    mel = torch.randn(1, FRAMES_A_SECOND * PROMPT_SECONDS, 80, generator=random)
    embedding = torch.randn(1, 192, generator=random)
    # The plain one takes tokens at once, ours what `voice` has prepared.
    voice, drawn = exact.voice(prompt, mel, embedding), SeededNoise(0, place)
    dual_prompt, dual = dual_frames(prompt).to(place), dual_frames(target).to(place)
    steady = drawn.flow(0, 2 * (len(dual_prompt) + len(dual)))
    fitted, speaker = aligned(mel, 2 * len(dual_prompt)).to(place), embedding.to(place)
    plain_flow = PlainFlow(flow_state, heads=sizes.flow.encoder.heads, guidance=sizes.flow.guidance)
    plain_hift, seconds = PlainHift(hift_state), len(dual) / 25
    stage = f"flow, {seconds:.1f} s after a {PROMPT_SECONDS} s prompt"
    yield machine.compare(
        stage,
        lambda: exact.offline_mel(target, voice, drawn),
        lambda: plain_flow.offline(dual_prompt, dual, fitted, speaker, steady),
        atol=1e-2,
        rtol=1e-3,
        audio=seconds,
    )
    made = exact.offline_mel(target, voice, drawn)
    noise_bsh = drawn.vocoder(480 * made.shape[2], 9)
    yield machine.compare(
        f"vocoder, {seconds:.1f} s",
        lambda: exact.vocoder(made, noise_bsh)[0],
        lambda: plain_hift(made, noise_bsh)[0],
        atol=1e-3,
        audio=seconds,
    )
    served = Precision.fast(place)
    if served != Precision():
        fast = load(served)
        other = fast.voice(prompt, mel, embedding)
        name = str(served.flow).removeprefix("torch.")
        yield machine.alone(
            f"{stage}, in {name} as served", lambda: fast.offline_mel(target, other, drawn), audio=seconds
        )


def _tokens(seconds: float, random: torch.Generator) -> list[int]:
    """Random mixed tokens, 2 + 3 a group of 0.12 s."""
    groups = round(seconds / 0.12)
    linguistic = torch.randint(0, 1024, (groups, 2), generator=random)
    semantic = torch.randint(1024, 5120, (groups, 3), generator=random)
    return torch.cat([linguistic, semantic], dim=1).flatten().tolist()
