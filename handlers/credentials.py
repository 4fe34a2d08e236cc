"""Blanks credentials that nobody gave, and lists those the user has to fill in. Called by `mend`."""

from __future__ import annotations

from handlers.draft import Draft
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


def required_credentials(draft: Draft) -> list[dict[str, str]]:
    """`requiredCredentials`: every field that only the user can fill and that is empty."""
    return [
        {"node": node.id, "field": field.name}
        for node in draft.nodes
        if (kind := draft.catalog.get(node.type)) is not None
        for field in kind.fields
        if field.from_user and field.needed(node.config) and not filled(field, node.config.get(field.name))
    ]
