"""Template references inside config values, e.g. `{{input.email}}`. Used by the validator and the repair."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
# contract §5: `input…` is what the step before hands on, `variables.name` what a set_variable stored.
_PATH = re.compile(r"\s*(input|variables)((?:\.[A-Za-z_$][\w$-]*|\.\d+|\[\d+\]|\[\"[^\"]*\"\]|\['[^']*'\])*)\s*")
# Braces in code are code.
CODE_FIELDS = frozenset({"code", "command"})


@dataclass(frozen=True, slots=True)
class Reference:
    """One `{{…}}`: the text inside, and where it stands as pointer parts below `config`."""

    text: str
    path: tuple[str | int, ...]

    @property
    def variable(self) -> str | None:
        """The name after `variables.`, if it refers to one."""
        match = _PATH.fullmatch(self.text)
        if match is None or match[1] != "variables" or not match[2]:
            return None
        return re.split(r"[.\[]", match[2][1:])[0].strip("\"']")

    @property
    def sound(self) -> bool:
        """Whether the engine can read it: a path from `input`, or from a named variable."""
        match = _PATH.fullmatch(self.text)
        return match is not None and (match[1] == "input" or bool(match[2]))


def references(config: Mapping[str, object]) -> Iterator[Reference]:
    """Every reference in a config, depth first; code fields aside. The config must be of bounded depth."""
    for name, value in config.items():
        if name not in CODE_FIELDS:
            yield from _walk(value, (name,))


def is_template(value: object) -> bool:
    """Whether the value is text with a reference in it: any field may hold one."""
    return isinstance(value, str) and TEMPLATE.search(value) is not None


def _walk(value: object, path: tuple[str | int, ...]) -> Iterator[Reference]:
    if isinstance(value, str):
        for match in TEMPLATE.finditer(value):
            yield Reference(match[1], path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))
