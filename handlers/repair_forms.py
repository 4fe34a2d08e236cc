"""Completes the config of a form trigger, which is emitted in full (contract §5). Called by the value repair."""

from __future__ import annotations

import re
from typing import Any

from consumer.job import JsonObject
from handlers.draft import Node
from schemas.forms import FIELD_TYPES, WITH_OPTIONS, form_faults

_SLUG = re.compile(r"[^a-z0-9]+")
_KEPT = ("placeholder", "defaultValue")


def complete_form(node: Node) -> None:
    """Give every form field id, label, name, type and required; names are unique. A form without fault stays."""
    fields = node.config.get("fields")
    if not isinstance(fields, list) or not any(form_faults(node.config, "")):
        # Names of a form that is right are what templates behind it refer to.
        return
    taken: set[str] = set()
    node.config["fields"] = [
        _field(raw, number, taken) for number, raw in enumerate(fields, start=1) if isinstance(raw, dict)
    ]


def _field(raw: JsonObject, number: int, taken: set[str]) -> JsonObject:
    label = str(raw.get("label") or raw.get("question") or raw.get("name") or f"Field {number}").strip()
    name = _name(str(raw.get("name") or label), number, taken)
    kept = {key: raw[key] for key in _KEPT if raw.get(key) is not None}
    options = _options(raw.get("options"))
    kind = _kind(raw.get("type") or raw.get("kind"), bool(options))
    required = raw.get("required")
    return {
        "id": str(raw.get("id") or f"field_{number}"),
        "label": label or f"Field {number}",
        "name": name,
        "type": kind,
        "required": required if isinstance(required, bool) else str(required).lower() == "true",
        **({"options": options} if options else {}),
        **kept,
    }


def _options(said: Any) -> list[Any]:
    """A list as it is, and the parts of "red, green"."""
    if isinstance(said, str):
        return [part.strip() for part in said.split(",") if part.strip()]
    return said if isinstance(said, list) else []


def _kind(said: Any, has_options: bool) -> str:
    kind = str(said).lower()
    # A choice without choices can only be text.
    return kind if kind in FIELD_TYPES and (has_options or kind not in WITH_OPTIONS) else "text"


def _name(wish: str, number: int, taken: set[str]) -> str:
    name = _SLUG.sub("_", wish.lower()).strip("_")[:40] or f"field_{number}"
    name = f"{name}_{number}" if name in taken else name
    taken.add(name)
    return name
