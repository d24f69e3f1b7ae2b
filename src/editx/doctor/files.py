"""Every file of the model directories, read and compared with what was recorded when it was put there."""

from __future__ import annotations

from pathlib import Path

from editx.doctor.check import Check
from editx.engines.layout import TOKENIZER_DIRECTORY, WEIGHT_DIRECTORIES
from editx.engines.record import NAME, REMEDY, Record


def check_files(model_path: Path, serving: str) -> list[Check]:
    """One check for each directory that is there. `serving`: the variant that would be served, whose files must be
    right."""
    directories = {**WEIGHT_DIRECTORIES, "tokenizer": TOKENIZER_DIRECTORY}
    needed = (serving, "tokenizer") if serving in WEIGHT_DIRECTORIES else ()
    return [
        _check(f"files {name}", model_path / directory, name in needed)
        for name, directory in directories.items()
        if (model_path / directory).is_dir()
    ]


def _check(name: str, directory: Path, needed: bool) -> Check:
    record = Record(directory)
    if not record.files:
        detail = f"{record.path} is missing or empty, so nothing is known of what the files should be"
        return Check(name, "warn", detail, "fetch them with `editx pull`, which keeps what is right", {"record": False})
    differing = {path: what for path in record.files if (what := record.difference(path))}
    there = {file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()}
    unknown = sorted(there - set(record.files) - {NAME})
    facts = {"record": True, "recorded": len(record.files), "differing": differing, "not_recorded": unknown}
    more = f"; not recorded: {', '.join(unknown)}" if unknown else ""
    if differing:
        detail = "; ".join(f"{directory / path} {what}" for path, what in differing.items())
        return Check(name, "fail" if needed else "warn", detail + more, REMEDY, facts)
    return Check(name, "ok", f"{len(record.files)} files in {directory} are as recorded{more}", facts=facts)
