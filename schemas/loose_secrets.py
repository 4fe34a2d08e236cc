"""Secrets where the catalogue lists no credential: in headers, in bodies, under keys it does not know.

Used by the node rules, the advice and the repair. Config values are of bounded depth here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from schemas.catalog import NodeType
from schemas.clean import Place
from schemas.subject import Known, is_placeholder
from schemas.templates import is_template

_NAMES = frozenset(
    {"accesstoken", "apikey", "authorization", "authtoken", "bearertoken", "clientsecret", "password", "privatekey"}
    | {"proxyauthorization", "secret", "secretkey", "token", "xapikey"}
)
_NOT_LETTER = re.compile("[^a-z]")
# Shorter values of a config, such as "1" or "true", say nothing when they are found within a text.
_TELLING = 6
# As workflow.schema.json bounds the name of a field.
_LONGEST = 200


def loose_secrets(kind: NodeType, config: Mapping[str, object]) -> Iterator[tuple[Place, str]]:
    """Place below `config` and value of every text that its key calls a secret; blank ones, too."""
    for name, value in config.items():
        field = kind.field(name)
        if isinstance(value, dict | list):
            yield from _within(value, (name,))
        elif field is None and _secret(name) and isinstance(value, str):
            yield (name,), value


def open_secrets(kind: NodeType, config: Mapping[str, object]) -> Iterator[str]:
    """How `requiredCredentials` names those that are blank: `headers.Authorization`."""
    names = (".".join(map(str, place)) for place, value in loose_secrets(kind, config) if not value.strip())
    return (name for name in names if len(name) <= _LONGEST)


def unknown_secret(value: str, known: Known | None) -> bool:
    """Whether neither config nor prompt give it or a part of it; when nothing is known, only placeholders count."""
    if not value.strip() or is_template(value):
        return False
    if known is None:
        return is_placeholder(value)
    return not (known.account(value) or any(len(part) >= _TELLING and part in value for part in known.values))


def _within(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _within(item, (*place, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list):
                yield from _within(item, (*place, key))
            elif isinstance(item, str) and (_secret(key) or (key == "value" and _secret(value.get("name")))):
                yield (*place, key), item


def _secret(name: object) -> bool:
    return _NOT_LETTER.sub("", str(name).lower()) in _NAMES
