"""Which repositories a variant is published in, and which of their files EditX has a use for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from editx.engines.layout import TOKENIZER_DIRECTORY, WEIGHT_DIRECTORIES
from editx.errors import InvalidRequest

OWNER = "stepfun-ai"
_USELESS = re.compile(
    r"""
    \.git.* | .*/\.git.*                    # the hub's own
    | .*\.(py|so|ipynb|png|jpe?g|gif|svg|mp[34]|wav|pdf)    # code EditX never runs, and what is there to be looked at
    | .*/speech_tokenizer_v1\.onnx          # a second copy; the one that is used lies at the top of its repository
    | (.*/)?(tokens\.(txt|json)|seg_dict)   # words of a recogniser of which only the encoder is used
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Repository:
    """One published repository and the name of its directory under the model path."""

    name: str
    directory: str


def repositories(variants: Iterable[str]) -> tuple[Repository, ...]:
    """What `variants` need, each once. Raises InvalidRequest for a variant that has no weights."""
    wanted = list(dict.fromkeys(variants))
    for variant in wanted:
        if variant not in WEIGHT_DIRECTORIES:
            raise InvalidRequest(
                f"there are no weights of {variant!r}; choose from: {', '.join(WEIGHT_DIRECTORIES)}", param="--variant"
            )
    directories = [*(WEIGHT_DIRECTORIES[variant] for variant in wanted), TOKENIZER_DIRECTORY]
    return tuple(Repository(f"{OWNER}/{directory}", directory) for directory in directories)


def is_useful(path: str) -> bool:
    """Whether a file of a repository is worth fetching."""
    return _USELESS.fullmatch(path) is None


def is_safe(path: str) -> bool:
    """Whether a path that a hub names stays inside of its directory."""
    pure = PurePosixPath(path)
    odd = any(character in path for character in "\\:\0") or any(ord(character) < 32 for character in path)
    return bool(path) and not odd and not pure.is_absolute() and ".." not in pure.parts and str(pure) == path


def place_of(model_path: Path, repository: Repository, path: str) -> Path:
    """Where a file of a repository belongs."""
    return model_path / repository.directory / path
