"""A form trigger is emitted in full; each fault of a field is one violation."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.validator import validate_workflow
from tests.unit.test_validator_rules import CATALOG, codes, valid

TEXTS = {"formTitle": "A", "formDescription": "B", "submitButtonText": "Go", "successMessage": "Ok", "redirectUrl": ""}
FIELD = {"id": "f1", "label": "Mail", "name": "mail", "type": "email", "required": True}


def test_a_form_field_is_complete() -> None:
    flow = valid()
    flow["nodes"][0] |= {"type": "form", "config": {**TEXTS, "fields": [FIELD]}}
    assert codes(flow) == []
    flow["nodes"][0]["config"]["fields"] = [
        FIELD,
        FIELD,
        {**FIELD, "name": "b", "type": "select"},
        {**FIELD, "name": "c", "type": "laser"},
        1,
    ]
    assert codes(flow) == ["INVALID_OPTION", "MISSING_REQUIRED_FIELD", "INVALID_OPTION", "INVALID_FIELD_TYPE"]


@pytest.mark.parametrize(
    ("fields", "code", "place"),
    [
        ([FIELD, {**FIELD, "name": "other"}, FIELD], "INVALID_OPTION", "2/name"),
        ([{**FIELD, "type": "select"}], "MISSING_REQUIRED_FIELD", "0/options"),
        ([{**FIELD, "type": "radio", "options": []}], "MISSING_REQUIRED_FIELD", "0/options"),
        ([{**FIELD, "type": "select", "options": "red, green"}], "INVALID_FIELD_TYPE", "0/options"),
        ([{**FIELD, "options": 7}], "INVALID_FIELD_TYPE", "0/options"),
        ([{**FIELD, "type": "laser"}], "INVALID_OPTION", "0/type"),
        ([{**FIELD, "type": " "}], "MISSING_REQUIRED_FIELD", "0/type"),
        ([{**FIELD, "name": None}], "MISSING_REQUIRED_FIELD", "0/name"),
        ([{**FIELD, "label": 7}], "INVALID_FIELD_TYPE", "0/label"),
        ([{key: FIELD[key] for key in FIELD if key != "required"}], "MISSING_REQUIRED_FIELD", "0/required"),
        ([{**FIELD, "required": "yes"}], "INVALID_FIELD_TYPE", "0/required"),
        ([FIELD, "x"], "INVALID_FIELD_TYPE", "1"),
    ],
)
def test_each_fault_of_a_form_field_is_one_violation(fields: list[Any], code: str, place: str) -> None:
    flow = valid()
    flow["nodes"][0] |= {"type": "form", "config": {**TEXTS, "fields": fields}}
    (violation,) = validate_workflow(flow, CATALOG)
    assert (violation.code, violation.pointer) == (code, f"/nodes/0/config/fields/{place}")


def test_two_form_fields_without_a_name_do_not_share_one() -> None:
    flow = valid()
    fields = [{**FIELD, "name": " "}, {**FIELD, "name": " "}]
    flow["nodes"][0] |= {"type": "form", "config": {**TEXTS, "fields": fields}}
    assert codes(flow) == ["MISSING_REQUIRED_FIELD"] * 2


def test_a_reference_cannot_stand_for_form_fields_since_nothing_runs_before() -> None:
    flow = valid()
    flow["nodes"][0] |= {"type": "form", "config": {**TEXTS, "fields": "{{input.fields}}"}}
    assert codes(flow) == ["INVALID_FIELD_TYPE"]
    flow["nodes"][0]["config"] |= {"fields": [FIELD], "successMessage": "Thank you, {{input.data.mail}}"}
    assert codes(flow) == []
