"""The values a person gave in the job's `config`, and which field of which node each is for. Used by the repair."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from consumer.job import Job
from schemas.subject import Known

_NOT_WORD = re.compile(r"[^a-z0-9]+")


class Supplied:
    """Looks up values of a job's config. Keys are compared without case and punctuation: `slack_webhook_url`."""

    def __init__(self, config: Mapping[str, Any] | None) -> None:
        self._values = {key: value for key, value in _flat(config or {}, "") if value not in ("", None)}

    def value(self, node_type: str, field: str, sole: bool) -> str | int | float | bool | None:
        """The value for a field: named with the type or a word of it, or plainly when only one type has that field."""
        words = node_type.split("_")
        keys = [_key(node_type + field), *(_key(word + field) for word in words), *([_key(field)] if sole else [])]
        return next((self._values[key] for key in keys if key in self._values), None)


def known(job: Job, existing: Mapping[str, Any] | None = None) -> Known:
    """What counts as given by the user: the config's values, those of the workflow to edit, and the prompt."""
    given = (*_scalars(job.config or {}), *_scalars(dict(existing or {}).get("nodes", [])))
    return Known(frozenset(given), job.prompt)


def _flat(value: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, dict) and not above:
            yield from _flat(item, name)
        elif isinstance(item, str | int | float):
            yield _key(above + name), item


def _key(name: str) -> str:
    return _NOT_WORD.sub("", name.lower())


def _scalars(value: Any) -> Iterator[str]:
    level = [value]
    while level:
        item = level.pop()
        if isinstance(item, dict):
            level.extend(item.values())
        elif isinstance(item, list):
            level.extend(item)
        elif isinstance(item, str | int | float):
            yield str(item)
