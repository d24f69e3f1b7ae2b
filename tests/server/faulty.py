"""The real server, whose `lite` is the engine with faults of the worker's tests: `python -m tests.server.faulty serve`.

What a request says is what that engine does.
"""

from dataclasses import replace
from pathlib import Path

from editx.backends import local
from editx.cli.app import main
from editx.engines.catalog import VariantSpec, catalog


def faulty(model_path: Path, **options: object) -> tuple[VariantSpec, ...]:
    """The catalog, with another engine behind `lite`."""
    return tuple(
        replace(spec, entry="tests.worker.engines:open_faulty") if spec.name == "lite" else spec
        for spec in catalog(model_path, **options)  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    local.catalog = faulty  # type: ignore[attr-defined,assignment]
    main()
