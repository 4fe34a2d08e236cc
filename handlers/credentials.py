"""Blanks credentials that nobody gave, and lists those the user has to fill in. Called by `mend`."""

from __future__ import annotations

from typing import Any

from handlers.draft import Draft, Node
from schemas.catalog import NodeType
from schemas.clean import one_line
from schemas.loose_secrets import loose_secrets, open_secrets, unknown_secret
from schemas.rules_nodes import filled, stands_in
from schemas.subject import Known


def blank_invented(draft: Draft, known: Known) -> None:
    """Empty every credential and account field whose value came from elsewhere than the user."""
    for index, node in enumerate(draft.nodes):
        kind = draft.catalog.get(node.type)
        for field in kind.fields if kind else ():
            value = node.config.get(field.name)
            given = known.secret(value) if field.credential else known.account(value)
            if field.from_user and filled(field, value) and not given and not stands_in(field, value):
                node.config[field.name] = ""
                text = f"{field.name} held an invented value; it was emptied."
                draft.mended("INVENTED_CREDENTIAL", text, "nodes", index, "config", field.name)


def blank_loose(draft: Draft, known: Known) -> None:
    """Empty the secrets that stand where the catalogue lists no credential and that nobody gave."""
    for index, node in enumerate(draft.nodes):
        kind = draft.catalog.get(node.type)
        for place, value in list(loose_secrets(kind, node.config)) if kind else ():
            if unknown_secret(value, known):
                holder: Any = node.config
                for part in place[:-1]:
                    holder = holder[part]
                holder[place[-1]] = ""
                text = f"{one_line(str(place[-1]))} held an invented secret; it was emptied."
                draft.mended("INVENTED_CREDENTIAL", text, "nodes", index, "config", *place)


def required_credentials(draft: Draft) -> list[dict[str, str]]:
    """`requiredCredentials`: every field that only the user can fill and that is empty, and every empty secret."""
    return [
        {"node": node.id, "field": name}
        for node in draft.nodes
        if (kind := draft.catalog.get(node.type)) is not None
        for name in (*_open(node, kind), *open_secrets(kind, node.config))
    ]


def _open(node: Node, kind: NodeType) -> list[str]:
    return [
        field.name
        for field in kind.fields
        if field.from_user and field.needed(node.config) and not filled(field, node.config.get(field.name))
    ]
