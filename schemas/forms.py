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
            yield Violation("INVALID_FIELD_TYPE", place, "A form field must be an object.", "Give an object.")
            continue
        yield from _field_faults(field, place)
        name = field.get("name")
        if isinstance(name, str) and name.strip():
            if name in names:
                text = "Two form fields have the same name."
                yield Violation("INVALID_OPTION", f"{place}/name", text, "Give each form field its own name.")
            names.add(name)


def _field_faults(field: Mapping[str, Any], place: str) -> Iterator[Violation]:
    for key in ("id", "label", "name", "type"):
        yield from _text_fault(field.get(key), key, f"{place}/{key}")
    if not isinstance(field.get("required"), bool):
        code = "MISSING_REQUIRED_FIELD" if field.get("required") is None else "INVALID_FIELD_TYPE"
        text = "required of a form field must be true or false."
        yield Violation(code, f"{place}/required", text, "Set required to true or false.")
    kind = field.get("type")
    if isinstance(kind, str) and kind.strip() and kind not in FIELD_TYPES:
        wanted = f"one of {', '.join(FIELD_TYPES)}"
        text = f"The type of a form field must be {wanted}."
        yield Violation("INVALID_OPTION", f"{place}/type", text, f"Set the type to {wanted}.")
    yield from _options_fault(field.get("options"), kind in WITH_OPTIONS, f"{place}/options")


def _options_fault(options: object, needed: bool, where: str) -> Iterator[Violation]:
    if options is not None and not isinstance(options, list):
        yield Violation("INVALID_FIELD_TYPE", where, "options of a form field must be a list.", "Give a list.")
    elif needed and not options:
        text = "A form field of this type needs options."
        yield Violation("MISSING_REQUIRED_FIELD", where, text, "Add options, or use the type text.")


def _text_fault(value: object, key: str, where: str) -> Iterator[Violation]:
    if value is None or (isinstance(value, str) and not value.strip()):
        yield Violation("MISSING_REQUIRED_FIELD", where, f"A form field needs {key}.", f"Fill {key}.")
    elif not isinstance(value, str):
        yield Violation("INVALID_FIELD_TYPE", where, f"{key} of a form field must be a text.", f"Give {key} as text.")
