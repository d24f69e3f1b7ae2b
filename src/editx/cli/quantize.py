"""`editx quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editx.cli.console import print_json
from editx.cli.native import need_torch
from editx.cli.options import AsJson, with_settings
from editx.cli.waiting import cancellable, showing_stages
from editx.errors import InvalidRequest
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.cancellation import Cancellation
    from editx.engines.step.quantize import Inputs, Quantized
    from editx.engines.step.quantize_audio import Listened, Recording


@with_settings(("model_path", "data_dir"))
def quantize(
    settings: Settings,
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="awq or bnb.", show_default=False)],
    audio: Annotated[
        list[Path] | None,
        typer.Option(
            "--audio",
            metavar="PATH",
            help="awq: a recording of speech, at most 30 s, or a folder of them; give it again for several.",
            show_default=False,
        ),
    ] = None,
    transcript: Annotated[
        list[str] | None,
        typer.Option(
            "--transcript",
            metavar="TEXT",
            help="The words in a recording, once for each --audio FILE in the same order; else those in a .txt file "
            "beside it, me.txt for me.wav.",
            show_default=False,
        ),
    ] = None,
    group: Annotated[int, typer.Option(min=8, help="awq: weights that share a scale; a multiple of 8.")] = 128,
    force: Annotated[bool, typer.Option("--force", help="Replace a directory that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the int4 (awq) or NF4 (bnb) weights from the bfloat16 ones.

    \b
    editx quantize bnb
    editx quantize awq --audio me.wav --transcript "What I say."
    editx quantize awq --audio recordings/

    Written in the published layout, into the directory where the variant belongs. Needs no GPU, and memory for one
    layer. Weights are rounded to nearest. With recordings, prompts of every kind are made of them and run through
    the model, and what matters to these is rounded more finely; give several voices, about three minutes in all,
    since more are not listened to. A recording without words serves denoise and vad prompts only.
    """
    need_torch("quantise weights")
    from editx.cli.orders import Stage
    from editx.cli.recordings import find_recordings
    from editx.engines.step.quantize import quantize as make
    from editx.engines.step.quantize_audio import listen

    if transcript and not audio:
        raise InvalidRequest("--transcript holds the words of a recording; name it with --audio", param="--transcript")
    recordings = find_recordings(audio or [], transcript or [])
    heard: list[Listened] = []
    with showing_stages() as notify:

        def report(done: int, total: int) -> None:
            notify(Stage("rounding", done / total))

        def work(cancellation: Cancellation) -> Quantized:
            def inputs() -> Inputs:
                layers, listened = listen(
                    settings.model_path,
                    recordings,
                    cache=settings.data_dir / "weights",
                    told=lambda share: notify(Stage("listening", share)),
                    cancellation=cancellation,
                )
                heard.append(listened)
                return layers

            return make(
                settings.model_path,
                variant,
                group=group,
                inputs=inputs if recordings else None,
                force=force,
                report=report,
                cancellation=cancellation,
            )

        made = cancellable(work)
    wordless = sum(not recording.transcript.strip() for recording in recordings)
    if as_json:
        print_json(_record(made, heard, wordless))
    else:
        _tell(made, heard, recordings, wordless)


def _record(made: Quantized, heard: list[Listened], wordless: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "directory": str(made.directory), "source_bytes": made.source_bytes, "bytes": made.bytes,
        "relative_error": made.error,
    }  # fmt: skip
    for listened in heard:
        record |= {
            "recordings": listened.recordings, "without_words": wordless, "prompts": listened.prompts,
            "tokens": listened.tokens, "output_error": made.output_error,
            "output_error_without_scales": made.plain_output_error,
        }  # fmt: skip
    return record


def _tell(made: Quantized, heard: list[Listened], recordings: tuple[Recording, ...], wordless: int) -> None:
    print(
        f"{made.directory}: {made.source_bytes / 1e9:.2f} GB became {made.bytes / 1e9:.2f} GB; "
        f"the weights are {made.error:.1%} off"
    )
    for listened in heard:
        print(
            f"on {listened.prompts} prompts made of {listened.recordings} of {len(recordings)} recordings, outputs are "
            f"{made.output_error:.2%} off; without scales they would be {made.plain_output_error:.2%} off"
        )
        if wordless:
            print(f"given without words, and of use for denoise and vad only: {wordless}")
