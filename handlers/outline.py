"""Tells a workflow in words for a terminal: what it is for, its nodes with their settings, and what is to be filled in.

Called by `consumer show` and, for single values, by `consumer replay`. Never shows the value of a credential.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from consumer.job import JsonObject
from handlers.graph import tree
from schemas.catalog import Catalog
from schemas.clean import one_line
from schemas.picture import title

TO_FILL_IN, HIDDEN = "(to be filled in)", "(filled in, not shown)"
MAX_VALUE = 90
# For fields that the catalogue does not know, and for headers: a name that speaks of a secret.
_SECRET = re.compile(
    r"(?i)(?:api|access|private)[-_ ]?key|token(?!s)|secret|passw|credential|cookie|authori[sz]ation|auth(?!or)"
)


def outline(workflow: JsonObject, catalog: Catalog) -> str:
    """Name, summary, trigger, the tree of nodes with one line per setting, and the credentials that are missing."""
    return "\n".join(_parts(workflow, catalog))


def shown_value(node_type: str, field: str, value: object, catalog: Catalog) -> str:
    """A config value on one line; of a credential only whether there is one."""
    kind = catalog.get(node_type)
    known = kind.field(field) if kind else None
    if known.credential if known else _sounds_secret(field, catalog):
        return TO_FILL_IN if value in ("", None) else HIDDEN
    if known and known.account and value in ("", None):
        return TO_FILL_IN
    return one_line(json.dumps(_veiled(value), ensure_ascii=False), MAX_VALUE)


def _parts(workflow: JsonObject, catalog: Catalog) -> Iterator[str]:
    yield one_line(workflow["name"], 200)
    if workflow["summary"] and workflow["summary"] != workflow["name"]:
        yield one_line(workflow["summary"], 500)
    triggers = [node for node in workflow["nodes"] if (kind := catalog.get(node["type"])) and kind.trigger]
    names = (f"{one_line(title(node, catalog))} [{one_line(node['type'], 40)}]" for node in triggers)
    yield f"Starts with: {', '.join(names) or 'nothing'}"
    yield ""
    yield from tree(workflow, lambda node: _settings(node, catalog))
    if workflow["requiredCredentials"]:
        yield ""
        yield "To be filled in:"
    for entry in workflow["requiredCredentials"]:
        yield f"  {one_line(entry['node'])}: {one_line(entry['field'])}"


def _settings(node: JsonObject, catalog: Catalog) -> list[str]:
    return [
        f"{one_line(name, 40)}: {shown_value(node['type'], name, value, catalog)}"
        for name, value in node["config"].items()
    ]


def _sounds_secret(field: str, catalog: Catalog) -> bool:
    """Whether a field that its type does not know is named like a secret, or is one of some other type."""
    elsewhere = any(item.credential and item.name == field for kind in catalog for item in kind.fields)
    return elsewhere or _SECRET.search(field) is not None


def _veiled(value: object) -> object:
    """The value without what lies under a name that speaks of a secret, such as a request's headers."""
    if isinstance(value, list):
        return [_veiled(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: HIDDEN if _SECRET.search(name) and item else _veiled(item) for name, item in value.items()}
