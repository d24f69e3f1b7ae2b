"""The index of a checkpoint that is split into shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from editx.errors import LoadFailed


def read_index(index: Path) -> dict[str, str]:
    """Tensor name to the name of the shard that holds it. Raises LoadFailed when the file is not such an index."""
    try:
        document: Any = json.loads(index.read_bytes())
    except OSError as error:
        raise LoadFailed(f"{index} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise LoadFailed(f"{index} is not JSON: {error}; fetch it again with `editx pull`") from error
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise LoadFailed(f"{index} has no weight_map; fetch it again with `editx pull`")
    for key, shard in weight_map.items():
        if not isinstance(shard, str) or shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise LoadFailed(f"{index} puts {key!r} into {shard!r}, which names no safetensors file beside it")
    return weight_map


def indexed_files(index: Path) -> tuple[Path, ...]:
    """The shards an index names, each once, in order of name."""
    return tuple(index.parent / name for name in sorted(set(read_index(index).values())))
