"""What a voice may be called."""

from __future__ import annotations

import re
import unicodedata

from editx.errors import InvalidRequest

MAX_NAME_CHARS = 64
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def check_name(name: str, *, param: str = "name") -> str:
    """The name in its normal form (NFC). Raises InvalidRequest, saying what is allowed, for one that cannot be used."""
    name = unicodedata.normalize("NFC", name)
    allowed = (
        f"a voice name has 1 to {MAX_NAME_CHARS} letters, digits, spaces, '-', '_' and '.', "
        "and begins and ends with neither a space nor a '.'"
    )
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidRequest(f"{allowed}; this one has {len(name)} characters", param=param)
    strange = sorted({char for char in name if not _is_fine(char)})
    if strange:
        raise InvalidRequest(f"{allowed}; not allowed in {name!r}: {' '.join(map(repr, strange))}", param=param)
    if name[0] in " ." or name[-1] in " .":
        raise InvalidRequest(f"{allowed}, unlike {name!r}", param=param)
    if not any(char.isalnum() for char in name):
        raise InvalidRequest(f"{allowed}, and at least one letter or digit, unlike {name!r}", param=param)
    if _RESERVED.fullmatch(name):
        raise InvalidRequest(f"{name!r} is a device name on some systems; choose another", param=param)
    return name


def key_of(name: str) -> str:
    """What two names that mean the same voice have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_fine(char: str) -> bool:
    # Marks are parts of letters in many scripts.
    return char in " -_." or char.isalnum() or unicodedata.category(char) in ("Mn", "Mc")
