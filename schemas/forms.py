"""Rules of the form trigger, which is emitted in full (contract §5). Used by the node rules and the repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consumer.errors import Violation

FIELD_TYPES = ("text", "email", "number", "textarea", "select", "checkbox", "radio")
WITH_OPTIONS = ("select", "radio")


def form_faults(config: Mapping[str, Any], where: str) -> Iterator[Violation]:
    """What is wrong with the `fields` of a form whose config stands at the JSON pointer `where`."""
    fields = config.get("fields")
    if not isinstance(fields, list):
        return
    names: set[str] = set()
    for index, field in enumerate(fields):
        place = f"{where}/fields/{index}"
        if not isinstance(field, dict):
            yield Violation("INVALID_FIELD_TYPE", place, "A form field must be an object.")
            continue
        yield from _field_faults(field, place)
        name = str(field.get("name"))
        if name in names:
            yield Violation("INVALID_OPTION", f"{place}/name", "Two form fields have the same name.")
        names.add(name)


def _field_faults(field: Mapping[str, Any], place: str) -> Iterator[Violation]:
    for key in ("id", "label", "name", "type"):
        if not isinstance(field.get(key), str) or not field[key].strip():
            yield Violation("MISSING_REQUIRED_FIELD", f"{place}/{key}", f"A form field needs {key}.")
    if not isinstance(field.get("required"), bool):
        yield Violation("INVALID_FIELD_TYPE", f"{place}/required", "required must be true or false.")
    kind = field.get("type")
    if isinstance(kind, str) and kind.strip() and kind not in FIELD_TYPES:
        text = f"The type of a form field must be one of {', '.join(FIELD_TYPES)}."
        yield Violation("INVALID_OPTION", f"{place}/type", text)
    if kind in WITH_OPTIONS and not field.get("options"):
        yield Violation("MISSING_REQUIRED_FIELD", f"{place}/options", f"A form field of type {kind} needs options.")
