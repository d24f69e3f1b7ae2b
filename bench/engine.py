"""How fast the native engine's stages are: seconds, real-time factor, share of the machine's limit, and against plain.

    python bench/engine.py [--device cpu] [--seconds 6 30] [--only STAGE …] [--variant base awq bnb]
        [--batch 4] [--checkpoint DIR] [--json FILE]

Every stage runs at the published sizes with seeded weights, ours and the plain eager one (`bench/plain_*.py`, straight
from the specification) on the same weights and input in one run, taking turns; their results are compared first. The
limit is this machine's own: a matrix product for work bound by arithmetic, a matrix-vector product for work bound by
memory, which take their turns too. What counts is the middle of all rounds, of seconds as of ratios within a round:
neighbours come and go on a shared machine, and slow down all that runs in the same moment. `--checkpoint` also measures
a whole model root: load in its parts, decode steps of the whole model, first sound, real-time factor, tokenizer cache,
GPU memory. A stage that fails is reported, and the others are measured all the same; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.checkpoint import checkpoint
from bench.decoder import decoder
from bench.language_model import layer, steps
from bench.listening import linguistic, semantic, speaker
from bench.machine import Machine
from bench.row import Row, table

from editx.engines.step.devices import resolve
from editx.engines.step.synth.sizes import SIZES

STAGES = ("layer", "steps", "linguistic", "semantic", "speaker", "decoder", "checkpoint")


def main() -> int:
    options = _options()
    machine = Machine(resolve(options.device), options.rounds, quick=options.size == "tiny")
    print(machine)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    try:
        for name, stage in stages(machine, options):
            try:
                for row in stage:
                    print(f"measured: {row.stage}", file=sys.stderr)
                    rows.append(row)
            except Exception as error:
                # The rest is worth having all the same.
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}"
    finally:
        Console(width=150).print(table(rows))
        if options.json:
            document = {
                "device": str(machine.device),
                "limits": machine.limits(),
                "rows": [asdict(row) for row in rows],
                "failed": failed,
            }
            options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


def stages(machine: Machine, options: argparse.Namespace) -> Iterator[tuple[str, Iterator[Row]]]:
    """What was asked for, each with its name."""
    sizes = SIZES[options.size]
    for name in STAGES:
        if name not in options.only:
            continue
        if name == "layer":
            yield from ((f"{name} {v}", layer(machine, sizes, v)) for v in options.variant)
        elif name == "steps":
            yield from ((f"{name} {v}", steps(machine, sizes, v, options.batch)) for v in options.variant)
        elif name == "linguistic":
            yield name, linguistic(machine, sizes, options.seconds)
        elif name == "semantic":
            yield name, semantic(machine, sizes, options.seconds)
        elif name == "speaker":
            yield name, speaker(machine, options.seconds)
        elif name == "decoder":
            yield name, decoder(machine, sizes)
        elif options.checkpoint:
            yield from (
                (f"{name} {v}", checkpoint(machine, options.checkpoint, v, options.batch)) for v in options.variant
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, nargs="+", default=[6, 30], help="sound for what hears it")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES, help="stages to measure")
    parser.add_argument("--variant", nargs="+", choices=("base", "awq", "bnb"), default=["base", "awq", "bnb"])
    parser.add_argument("--batch", type=int, default=4, help="requests that share the largest decode step")
    parser.add_argument("--checkpoint", type=Path, help="a model root, such as `editx synth-checkpoint` writes")
    parser.add_argument("--size", choices=SIZES, default="full", help="tiny only shows that everything runs")
    parser.add_argument("--rounds", type=float, default=15.0, help="seconds that the rounds of one row may take")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
