"""Each violation says where, what is wrong in a plain sentence of ours, how bad it is and what would fix it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consumer.errors import Violation
from schemas import rules_shape
from schemas.catalog import Catalog
from schemas.documents import schema
from schemas.validator import advise, validate_workflow
from tests.unit.test_validator_rules import MUTATIONS, config_of, edge, node, valid

CATALOG = Catalog.load()
Flow = dict[str, Any]


def only(flow: object) -> Violation:
    (violation,) = validate_workflow(flow, CATALOG)
    return violation


def told(flow: object) -> tuple[str, str, str, str]:
    violation = only(flow)
    return violation.code, violation.pointer, violation.message, violation.fix


SHAPES: list[tuple[Callable[[Flow], object], tuple[str, str, str, str]]] = [
    (
        lambda flow: flow["nodes"][4].update(label="x" * 201),
        (
            "TOO_LARGE", "/nodes/4/label", "/nodes/4/label has 201 characters; at most 200 are allowed.",
            "Cut it to 200 characters.",
        ),
    ),
    (
        lambda flow: flow["nodes"][4].update(config={"message": "x", **{f"k{number}": 1 for number in range(200)}}),
        (
            "TOO_LARGE", "/nodes/4/config", "/nodes/4/config has 201 keys; at most 200 are allowed.",
            "Cut it to 200 keys.",
        ),
    ),
    (
        lambda flow: flow.update(edges=[edge(f"e{number}", "a", "b") for number in range(8001)]),
        ("TOO_LARGE", "/edges", "/edges has 8001 entries; at most 8000 are allowed.", "Cut it to 8000 entries."),
    ),
    (
        lambda flow: flow["nodes"][4].pop("position"),
        ("MISSING_REQUIRED_FIELD", "/nodes/4/position", "/nodes/4 has no position.", "Add position."),
    ),
    (
        lambda flow: flow.pop("name"),
        ("MISSING_REQUIRED_FIELD", "/name", "The workflow has no name.", "Add name."),
    ),
    (
        lambda flow: flow.update(name=""),
        ("MISSING_REQUIRED_FIELD", "/name", "/name must not be empty.", "Fill it."),
    ),
    (
        lambda flow: flow["nodes"][4]["position"].update(x="1"),
        ("INVALID_FIELD_TYPE", "/nodes/4/position/x", "/nodes/4/position/x must be a number.", "Give a number."),
    ),
    (
        lambda flow: flow.update(viewport={"x": 0, "y": 0, "zoom": 0}),
        ("INVALID_OPTION", "/viewport/zoom", "/viewport/zoom must be more than 0.", "Give a number above 0."),
    ),
    (
        lambda flow: flow["edges"][0].update({"a/b": 1}),
        (
            "UNKNOWN_KEY", "/edges/0/a~1b", "/edges/0 has the key a/b, which is not part of a workflow.",
            "Remove the key.",
        ),
    ),
    (
        lambda flow: config_of(flow, 4).update(extra=["x", "a\0"]),
        (
            "INVALID_FIELD_TYPE", "/nodes/4/config/extra/1",
            "/nodes/4/config/extra/1 holds a NUL or half a character, which the database cannot store.",
            "Remove it or write it as plain text.",
        ),
    ),
    (
        lambda flow: config_of(flow, 4).update({"a\0": 1}),
        (
            "INVALID_FIELD_TYPE", "/nodes/4/config",
            "/nodes/4/config has a key that holds a NUL or half a character, which the database cannot store.",
            "Remove it or write it as plain text.",
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), SHAPES)
def test_what_the_json_schema_says_is_said_plainly(
    change: Callable[[Flow], object], expected: tuple[str, str, str, str]
) -> None:
    flow = valid()
    change(flow)
    assert told(flow) == expected


def test_two_missing_parts_are_two_violations() -> None:
    flow = valid()
    del flow["edges"][0]["source"], flow["edges"][0]["target"]
    found = validate_workflow(flow, CATALOG)
    assert [violation.pointer for violation in found] == ["/edges/0/source", "/edges/0/target"]


def keywords(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        named = part.get("properties", {}) | part.get("$defs", {})
        yield from set(part) - {"$schema", "$ref", "$defs", "title", "properties", "items"}
        for inner in [*named.values(), part.get("items")]:
            yield from keywords(inner)


def test_there_is_a_sentence_for_every_keyword_of_the_schema() -> None:
    assert set(keywords(schema("workflow"))) == set(rules_shape._KEYWORDS)


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_violation_has_a_sentence_a_fix_and_a_severity(name: str) -> None:
    flow = valid()
    MUTATIONS[name][0](flow)
    for violation in validate_workflow(flow, CATALOG):
        assert set(violation.as_json()) == {"code", "pointer", "message", "fix", "severity"}
        assert re.fullmatch(r"[^\n]+[^ .]\.", violation.message)
        assert re.fullmatch(r"[A-Z][a-z]+ [^\n]+[^ .]\.|Fill it\.", violation.fix), violation.fix
        assert violation.severity == "error"


def test_what_is_odd_is_a_warning_and_no_violation() -> None:
    flow = valid()
    flow["nodes"][0].update(label="Start", position={"x": 9, "y": 9})
    flow["nodes"][1].update(label=" ", position={"x": 8, "y": 9})
    flow["nodes"][2].update(label="If", position={"x": 9, "y": 8})
    flow["nodes"][3].update(label="Slack", position={"x": 9.0, "y": 9})
    flow["nodes"][4] = {**node("log_1", "google_sheets", operation="fold", spreadsheetId="1", note="x"), "label": "S"}
    flow["requiredCredentials"] += [{"node": "log_1", "field": "spreadsheetId"}, {"node": "mars", "field": "key"}]
    assert validate_workflow(flow, CATALOG) == []
    warnings = advise(flow, CATALOG)
    assert [(warning.code, warning.pointer) for warning in warnings] == [
        ("MISSING_LABEL", "/nodes/1/label"),
        ("HIDDEN_NODE", "/nodes/3/position"),
        ("UNUSUAL_OPTION", "/nodes/4/config/operation"),
        ("UNKNOWN_CONFIG_KEY", "/nodes/4/config/note"),
        ("NEEDLESS_ENTRY", "/requiredCredentials/1"),
        ("NEEDLESS_ENTRY", "/requiredCredentials/2"),
    ]
    assert {warning.severity for warning in warnings} == {"warning"}
    assert all(warning.message.endswith(".") and warning.fix.endswith(".") for warning in warnings)


def test_templates_and_blanks_in_open_options_and_unknown_types_are_not_odd() -> None:
    flow = valid()
    flow["nodes"] = [
        {**entry, "label": "A", "position": {"x": number, "y": 0}} for number, entry in enumerate(flow["nodes"])
    ]
    for operation in ("{{input.operation}}", "", 7, "append"):
        flow["nodes"][4] |= {"type": "google_sheets", "config": {"operation": operation, "spreadsheetId": "1"}}
        assert advise(flow, CATALOG) == []
    flow["nodes"][4] |= {"type": "laser", "config": {"beam": 1}}
    assert advise(flow, CATALOG) == []


@pytest.mark.parametrize("junk", [None, [], {}, {"nodes": 1}])
def test_nothing_is_said_about_the_style_of_what_is_no_workflow(junk: object) -> None:
    assert advise(junk, CATALOG) == []


def test_violations_are_counted_up_to_a_hundred() -> None:
    flow = valid()
    flow["nodes"] = [None] * 500
    assert len(validate_workflow(flow, CATALOG)) == 100


def test_depth_and_size_are_bounded() -> None:
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    flow = valid()
    config_of(flow, 4)["extra"] = deep
    assert [violation.code for violation in validate_workflow(flow, CATALOG)] == ["TOO_LARGE"]
    config_of(flow, 4)["extra"] = None
    flow["nodes"] = [{**node(f"n{i}", "laser")} for i in range(1000)]
    assert len([violation.code for violation in validate_workflow(flow, CATALOG)]) == 100
