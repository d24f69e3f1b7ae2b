"""A safe reader of the tagged YAML dialect that `cosyvoice.yaml` is written in (spec 40 §2).

Nothing a document names is ever imported or called: `!new:a.b.C` becomes a plain mapping that remembers `C`, `!ref <x>`
the top-level scalar `x`, and every other tag an `Opaque` value.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import yaml

from editx.errors import LoadFailed

CLASS = "!class"
"""Key under which a mapping tagged `!new:a.b.C` holds `C`. No plain key of a document begins with `!`."""

_LARGEST = 1 << 20
_MOST_NODES = 100_000
"""Of a document with its aliases written out; a configuration has a few hundred."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value whose tag we do not interpret."""

    tag: str


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str


class _TooMany(Exception):
    """The document has more nodes than is believed."""


class _Loader(yaml.SafeLoader):
    """SafeLoader whose only further constructors build plain values."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what merge keys name, which may double with every one of them."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_NODES:
            raise _TooMany


def _new(loader: _Loader, suffix: str, node: yaml.Node) -> dict[Hashable, object]:
    built: dict[Hashable, object] = {}
    if isinstance(node, yaml.MappingNode):
        built.update(loader.construct_mapping(node, deep=True))
    built[CLASS] = suffix.rpartition(".")[2]
    return built


def _reference(loader: _Loader, node: yaml.Node) -> object:
    if not isinstance(node, yaml.ScalarNode):
        return Opaque(node.tag)
    return _Reference(node.value.strip())


def _opaque(loader: _Loader, node: yaml.Node) -> Opaque:
    return Opaque(node.tag)


_Loader.add_multi_constructor("!new:", _new)
_Loader.add_constructor("!ref", _reference)
_Loader.add_constructor(None, _opaque)


def read(text: str, where: str = "cosyvoice.yaml") -> dict[str, object]:
    """The document as plain mappings, lists and scalars. `where` names the file in errors.

    Raises LoadFailed when the text is not a mapping in this dialect, over 1 MiB, or of more nodes than any
    configuration has.
    """
    if len(text) > _LARGEST:
        raise LoadFailed(f"{where} has {len(text)} characters; a configuration has a few thousand. Download it again")
    too_many = f"{where} holds more than any configuration does. Download it again"
    try:
        document = yaml.load(text, Loader=_Loader)
    except _TooMany as error:
        raise LoadFailed(too_many) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise LoadFailed(f"{where} is not readable YAML ({error}). Download it again") from error
    if not isinstance(document, dict):
        raise LoadFailed(f"{where} holds no mapping at its top level. Download it again")
    scalars: dict[str, object] = {
        str(key): value for key, value in document.items() if isinstance(value, str | int | float | bool | _Reference)
    }
    resolving = _Resolving(scalars)
    try:
        return {str(key): resolving.resolve(value, 0) for key, value in document.items()}
    except RecursionError as error:
        raise LoadFailed(f"{where} nests deeper than any configuration does. Download it again") from error
    except _TooMany as error:
        raise LoadFailed(too_many) from error


class _Resolving:
    """Puts values in the place of references. A node that several aliases name is counted, and copied, for each."""

    def __init__(self, scalars: dict[str, object]) -> None:
        self._scalars = scalars
        self._nodes = 0

    def resolve(self, value: object, depth: int) -> object:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _TooMany
        if depth > 64:
            raise RecursionError
        if isinstance(value, dict):
            return {str(key): self.resolve(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, depth + 1) for item in value]
        name = value.name if isinstance(value, _Reference) else value
        if isinstance(name, str) and name.startswith("<") and name.endswith(">"):
            target = self._scalars.get(name[1:-1].strip())
            return Opaque("!ref") if target is None else self.resolve(target, depth + 1)
        return Opaque("!ref") if isinstance(value, _Reference) else value
