"""A configuration as JSON types and back, and the hash that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from pmd_jax.config.schema import Config
from pmd_jax.runtime.errors import ConfigError


def to_dict(config: Config) -> dict[str, Any]:
    """The resolved configuration as JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: Config) -> str:
    """Twelve hexadecimal digits that name this configuration in tables.

    Only what differs from the defaults counts, so that a field that is added later does not rename what was computed
    before. A default must therefore never be given another value: two computations would have one name.
    """
    changed = _changed(to_dict(config), to_dict(type(config)()))
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:12]


def _changed(tree: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """The part of a `to_dict` tree that is not as in `default`."""
    return {
        name: _changed(value, default[name]) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value != default[name]
    }


def from_dict(tree: dict[str, Any]) -> Config:
    """The inverse of `to_dict`; unknown fields are errors.

    Raises:
        ConfigError: a field that this version does not know.
    """
    return _build(Config, tree, "config")


def _build(cls, tree: dict[str, Any], where: str):
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} = {tree!r}: a group of fields is expected.")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(tree) - set(fields))
    if unknown:
        raise ConfigError(f"{where} has unknown fields {unknown}; this version knows {sorted(fields)}.")
    default = cls()
    values = {}
    for name, value in tree.items():
        current = getattr(default, name)
        if dataclasses.is_dataclass(current):
            value = _build(type(current), value, f"{where}.{name}")
        elif isinstance(current, tuple) and isinstance(value, list | tuple):
            value = tuple(value)
        elif not isinstance(value, type(current)) and not (isinstance(current, float) and isinstance(value, int)):
            raise ConfigError(f"{where}.{name} = {value!r}: a {type(current).__name__} is expected.")
        values[name] = value
    return cls(**values)


def differences(ours: dict[str, Any], theirs: dict[str, Any], where: str = "config") -> list[str]:
    """The fields in which two `to_dict` trees differ, one line each."""
    lines = []
    for key in sorted(set(ours) | set(theirs)):
        a, b = ours.get(key, "(absent)"), theirs.get(key, "(absent)")
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{where}.{key}")
        elif a != b:
            lines.append(f"{where}.{key}: {a!r} here, {b!r} there")
    return lines
