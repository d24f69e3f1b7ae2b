"""A whole synthetic model root: what `editx synth-checkpoint` writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from editx.engines.layout import DECODER_DIRECTORY, TOKENIZER_DIRECTORY, WEIGHT_DIRECTORIES
from editx.engines.record import Record
from editx.engines.step.synth.audio_tokenizers import write_audio_tokenizers
from editx.engines.step.synth.decoder import write_decoder
from editx.engines.step.synth.language_model import write_language_model
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import SIZES
from editx.engines.step.synth.text_tokenizer import text_tokenizer, tokenizer_config
from editx.engines.step.weights.whole import whole_directory
from editx.errors import Conflict, InvalidRequest, unwritable

Report = Callable[[str], None]


def write_checkpoint(
    root: Path,
    variants: Sequence[str] = ("base",),
    *,
    size: str = "tiny",
    seed: int = 0,
    force: bool = False,
    report: Report = lambda _: None,
) -> list[Path]:
    """Write the directories of `variants`, and the audio tokenizers they share, under `root`; returns what was written.

    The same size and seed always give the same weights, in every variant. A directory appears when it is complete.
    Raises Conflict for a variant's directory that exists, unless `force` replaces it; audio tokenizers that exist stay.
    """
    if size not in SIZES:
        raise InvalidRequest(f"there is no size {size!r}; choose one of: {', '.join(SIZES)}", param="--size")
    unknown = [variant for variant in variants if variant not in WEIGHT_DIRECTORIES]
    if unknown:
        raise InvalidRequest(
            f"there are no weights of {unknown[0]!r}; choose from: {', '.join(WEIGHT_DIRECTORIES)}", param="--variant"
        )
    taken = [path for variant in variants if (path := root / WEIGHT_DIRECTORIES[variant]).exists()]
    if taken and not force:
        raise Conflict(f"{taken[0]} exists; replace it with --force", param="--force")
    sizes, noise = SIZES[size], Noise(seed)
    written: list[Path] = []
    decoder: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        tokenizer = root / TOKENIZER_DIRECTORY
        if force or not tokenizer.exists():
            report(TOKENIZER_DIRECTORY)
            with whole_directory(tokenizer) as directory:
                write_audio_tokenizers(directory, sizes, noise)
                Record(directory).add_all()
            written.append(tokenizer)
        for variant in dict.fromkeys(variants):
            target = root / WEIGHT_DIRECTORIES[variant]
            report(target.name)
            with whole_directory(target) as directory:
                write_language_model(directory, sizes, variant, noise)
                (directory / "tokenizer.model").write_bytes(text_tokenizer())
                (directory / "tokenizer_config.json").write_text(tokenizer_config(), "utf-8")
                if decoder:
                    shutil.copytree(decoder, directory / DECODER_DIRECTORY)
                else:
                    (directory / DECODER_DIRECTORY).mkdir()
                    write_decoder(directory / DECODER_DIRECTORY, sizes.flow, sizes.vocoder, noise)
                Record(directory).add_all()
            decoder = target / DECODER_DIRECTORY
            written.append(target)
    except OSError as error:
        raise unwritable(f"cannot write to {root}", error, param="DIR") from error
    return written
