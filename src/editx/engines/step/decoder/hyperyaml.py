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


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value whose tag we do not interpret."""

    tag: str


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str


class _Loader(yaml.SafeLoader):
    """SafeLoader whose only further constructors build plain values."""


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

    Raises LoadFailed when the text is not a mapping in this dialect, or over 1 MiB.
    """
    if len(text) > _LARGEST:
        raise LoadFailed(f"{where} has {len(text)} characters; a configuration has a few thousand. Download it again")
    try:
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise LoadFailed(f"{where} is not readable YAML ({error}). Download it again") from error
    if not isinstance(document, dict):
        raise LoadFailed(f"{where} holds no mapping at its top level. Download it again")
    scalars: dict[str, object] = {
        str(key): value for key, value in document.items() if isinstance(value, str | int | float | bool | _Reference)
    }
    try:
        return {str(key): _resolve(value, scalars, 0) for key, value in document.items()}
    except RecursionError as error:
        raise LoadFailed(f"{where} nests deeper than any configuration does. Download it again") from error


def _resolve(value: object, scalars: dict[str, object], depth: int) -> object:
    if depth > 64:
        raise RecursionError
    if isinstance(value, dict):
        return {str(key): _resolve(item, scalars, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, scalars, depth + 1) for item in value]
    name = value.name if isinstance(value, _Reference) else value
    if isinstance(name, str) and name.startswith("<") and name.endswith(">"):
        target = scalars.get(name[1:-1].strip())
        return Opaque("!ref") if target is None else _resolve(target, scalars, depth + 1)
    return Opaque("!ref") if isinstance(value, _Reference) else value
