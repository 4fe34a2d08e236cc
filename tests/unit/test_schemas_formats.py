"""The values of selects and formats of contract §6: what is listed passes, anything else is INVALID_OPTION."""

from __future__ import annotations

import pytest

from handlers.coerce import coerce
from schemas.catalog import Catalog, Field
from schemas.formats import WANTED, follows
from schemas.rules_nodes import allowed
from schemas.validator import validate_workflow
from tests.unit.test_validator_rules import edge, node, valid

CATALOG = Catalog.load()

# contract §6
SELECTS = {
    ("webhook", "method"): "GET|POST|PUT",
    ("http_request", "method"): "GET|POST|PUT|PATCH|DELETE",
    ("merge", "mode"): "merge|append|key_based|wait_all|concat",
    ("aggregate", "operation"): "sum|avg|count|min|max",
    ("log_output", "level"): "info|warn|error|debug",
}
FORMATS: dict[tuple[str, str], tuple[list[object], list[object]]] = {
    ("interval", "interval"): (
        ["30s", "5m", "1h", "90m"],
        ["5", "m", "0m", "05m", "5d", "5 m", "-5m", "1.5h", "٥m", "5m\n"],
    ),
    ("schedule", "time"): (
        ["00:00", "09:00", "23:59"],
        ["24:00", "9:00", "09:60", "9am", "0900", "09:00:00", "09:00\n"],
    ),
    ("schedule", "timezone"): (
        ["Asia/Kolkata", "UTC", "Asia/Calcutta", "America/Argentina/Buenos_Aires"],
        ["Mars/Olympus", "asia/kolkata", "../etc/passwd", "America", "a\0b", "x" * 5000],
    ),
    ("google_calendar", "startTime"): (
        ["2026-01-31T09:00:00Z", "2026-01-31T09:00:00+05:30", "2026-01-31"],
        ["tomorrow", "31.01.2026", "9:00", "2026-02-30"],
    ),
    ("paypal", "amount"): (["19.99", "5"], ["$5", "5,00", "-5", "5.", ".5", "1e3"]),
    ("stripe", "amount"): ([1999, 0, 5.0], [19.99, -1]),
}  # fmt: skip


def field_of(place: tuple[str, str]) -> Field:
    field = CATALOG[place[0]].field(place[1])
    assert field is not None
    return field


@pytest.mark.parametrize("place", SELECTS)
def test_a_select_takes_its_options_and_nothing_else(place: tuple[str, str]) -> None:
    options = SELECTS[place].split("|")
    assert [
        option for option in [*options, "YELL", options[0].swapcase(), ""] if allowed(field_of(place), option)
    ] == options
    assert list(field_of(place).options) == options and not field_of(place).open


@pytest.mark.parametrize("place", FORMATS)
def test_a_format_takes_what_is_written_that_way_and_nothing_else(place: tuple[str, str]) -> None:
    right, wrong = FORMATS[place]
    assert [value for value in [*right, *wrong] if allowed(field_of(place), value)] == right
    # Nothing runs before a trigger.
    assert allowed(field_of(place), "{{input.value}}") is (place[0] not in CATALOG.triggers)


def test_no_format_takes_a_value_of_another_type() -> None:
    others: list[object] = [[], {}, None, "x"]
    assert not any(follows(form, value) for form in WANTED for value in others)
    assert not any(follows(form, 5) for form in WANTED if form != "cents")


def test_defaults_are_written_as_their_format_says() -> None:
    for kind in CATALOG:
        for field in kind.fields:
            assert field.default is None or allowed(field, field.default), (kind.name, field.name)


@pytest.mark.parametrize("place", [*SELECTS, *FORMATS])
def test_a_value_outside_is_one_violation_in_the_workflow(place: tuple[str, str]) -> None:
    kind, name = place
    value: float | str = 0.5 if field_of(place).type == "number" else "YELL"
    flow = valid()
    config = {field.name: filling(field) for field in CATALOG[kind].fields} | {name: value}
    if CATALOG[kind].trigger:
        flow["nodes"][0] |= {"type": kind, "config": config}
    else:
        flow["nodes"].append(node("extra", kind, **config))
        flow["edges"].append(edge("e9", "log_1", "extra"))
    (violation,) = validate_workflow(flow, CATALOG)
    assert (violation.code, violation.pointer.rpartition("/")[2]) == ("INVALID_OPTION", name)
    assert violation.message.startswith(f"{name} must be ")


def filling(field: Field) -> object:
    return (
        field.default
        if field.default is not None
        else {"number": 1, "array": ["x"], "object": {"a": 1}}.get(field.type, "5")
    )


@pytest.mark.parametrize("kind", [kind.name for kind in CATALOG if not kind.trigger and kind.category != "logic"])
def test_a_node_of_any_type_is_valid_when_filled_and_misses_each_field_it_needs(kind: str) -> None:
    flow = valid()
    config = {field.name: filling(field) for field in CATALOG[kind].fields}
    flow["nodes"].append(node("extra", kind, **config))
    flow["edges"].append(edge("e9", "log_1", "extra"))
    assert validate_workflow(flow, CATALOG) == []
    for field in CATALOG[kind].fields:
        if field.needed(config):
            flow["nodes"][5]["config"] = {name: value for name, value in config.items() if name != field.name}
            found = [(violation.code, violation.pointer) for violation in validate_workflow(flow, CATALOG)]
            assert found == [("MISSING_REQUIRED_FIELD", f"/nodes/5/config/{field.name}")]


# contract §6: type, operation, what it needs beside
NEEDS = [
    ("google_gmail", "send", "to subject body"), ("google_gmail", "get", "messageId"),
    ("google_doc", "read", "documentId"), ("google_doc", "update", "documentId"), ("google_doc", "create", "title"),
    ("google_drive", "download", "fileId"), ("google_drive", "delete", "fileId"),
    ("google_drive", "upload", "fileName fileContent"),
    ("google_calendar", "create", "summary startTime endTime"),
    ("google_calendar", "update", "summary startTime endTime eventId"), ("google_calendar", "delete", "eventId"),
    ("google_tasks", "create", "title"), ("google_contacts", "update", "contactId"),
    ("google_contacts", "delete", "contactId"), ("postgresql", "select", "table"), ("postgresql", "query", "query"),
    ("supabase", "select", "table"), ("supabase", "query", "query"), ("database_write", "update", "matchColumn"),
    ("database_write", "upsert", "matchColumn"), ("redis", "set", "value"), ("aws_s3", "get", "key"),
    ("aws_s3", "put", "key content"), ("aws_s3", "delete", "key"), ("minio", "get", "key"),
    ("minio", "put", "key content"), ("minio", "delete", "key"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "operation", "needs"), NEEDS)
def test_an_operation_needs_exactly_what_the_contract_lists(kind: str, operation: str, needs: str) -> None:
    flow = valid()
    always = {field.name: filling(field) for field in CATALOG[kind].fields if field.required}
    flow["nodes"].append(node("extra", kind, **{**always, "operation": operation}))
    flow["edges"].append(edge("e9", "log_1", "extra"))
    found = validate_workflow(flow, CATALOG)
    assert {violation.code for violation in found} == {"MISSING_REQUIRED_FIELD"}
    assert {violation.pointer.rpartition("/")[2] for violation in found} == set(needs.split())


@pytest.mark.parametrize(
    ("place", "value", "meant"),
    [
        (("schedule", "time"), " 9:05 ", "09:05"),
        (("schedule", "time"), "09:00:00", "09:00"),
        (("schedule", "time"), "9am-ish", "9am-ish"),
        (("interval", "interval"), "5 minutes", "5m"),
        (("interval", "interval"), "Every 2 hours", "2h"),
        (("interval", "interval"), "030 sec", "30s"),
        (("interval", "interval"), "5 months", "5 months"),
        (("schedule", "timezone"), "america/new york", "America/New_York"),
        (("schedule", "timezone"), "Mars", "Mars"),
        (("stripe", "amount"), "1999", 1999),
        (("paypal", "amount"), 19.5, "19.5"),
    ],
)
def test_other_spellings_of_the_same_value_are_brought_to_the_format(
    place: tuple[str, str], value: object, meant: object
) -> None:
    assert coerce(field_of(place), value) == meant
