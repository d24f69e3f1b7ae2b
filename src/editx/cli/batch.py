"""`editx batch`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from editx.cli.console import print_json
from editx.cli.options import ENGINE_SETTINGS, ApiKey, AsJson, Force, Seed, Server, Variant, with_settings
from editx.errors import InvalidRequest
from editx.settings import Settings

SOME_FAILED = 1


@with_settings(ENGINE_SETTINGS)
def batch(
    settings: Settings,
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="JSON Lines: one job a line.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Folder for the audio and results.jsonl.", show_default=False),
    ],
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Lines worked on at once; what the engine can if not given."),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Of lines that name none: mp3, opus, aac, flac, wav or pcm.")
    ] = "wav",
    variant: Variant = None,
    seed: Seed = None,
    force: Force = False,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Run many jobs from a manifest, and go on where an earlier run was stopped.

    \b
    {"id": "a1", "text": "Hello!", "voice": "alloy", "steps": [{"type": "emotion", "info": "happy"}]}
    {"id": "a2", "text": "Hello!", "ref_audio": "me.wav", "ref_text": "What I say.", "format": "mp3"}
    {"id": "a3", "source": "me.wav", "transcript": "What I say.", "steps": [{"type": "denoise"}], "out": "a/3.flac"}

    Paths are relative to the manifest. The whole manifest is checked before the first line runs. Lines that
    results.jsonl says are done are not done again; those that changed or failed are, and what they made before is
    replaced. Exits with 1 if lines failed.
    """
    from editx.audio.codec import FORMATS
    from editx.cli.batch_run import BatchRun
    from editx.cli.files import check_free, make_folder, sweep
    from editx.cli.journal import JOURNAL, Journal
    from editx.cli.making import open_maker
    from editx.cli.manifest import Defaults, read_manifest
    from editx.cli.waiting import cancellable

    if format not in FORMATS:
        raise InvalidRequest(f"{format!r} is no audio format; use one of: {', '.join(FORMATS)}", param="--format")
    with open_maker(settings, server, api_key) as maker:
        at_once = jobs or maker.jobs(variant)
        lines = read_manifest(manifest, out, Defaults(format, variant, seed), maker.transcript)
        make_folder(out)
        there = [line for line in lines if (out / line.out).parent.is_dir()]
        if not (out / JOURNAL).exists():  # a folder that is refused gets no journal
            check_free((out / line.out for line in there), force=force)
        with closing(Journal(out)) as journal:
            check_free((out / line.out for line in there if not journal.owns(line.out)), force=force)
            sweep(out / line.out for line in lines)
            todo = [line for line in lines if not journal.done(line.digest, line.out)]
            run = BatchRun(maker, out, variant, journal, as_json)
            with journal.claim(line.out for line in todo):
                failed = cancellable(lambda cancellation: run.all(todo, len(lines), at_once, cancellation))
    done, skipped = len(todo) - len(failed), len(lines) - len(todo)
    if as_json:
        results = str(out / JOURNAL)
        print_json({"lines": len(lines), "done": done, "skipped": skipped, "failed": failed, "results": results})
    else:
        before = f", {skipped} done before" if skipped else ""
        print(f"{done} of {len(lines)} lines done{before}, {len(failed)} failed; see {out / JOURNAL}")
    if failed:
        raise typer.Exit(SOME_FAILED)
