"""One valid workflow, and one mutation for every violation code: each yields exactly its violation."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.catalog import Catalog
from schemas.validator import Known, advise, validate_workflow

CATALOG = Catalog.load()
Flow = dict[str, Any]


def node(name: str, kind: str, /, **config: Any) -> Flow:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "config": config}


def edge(name: str, source: str, target: str, handle: str | None = None) -> Flow:
    return {"id": name, "source": source, "target": target, **({"sourceHandle": handle} if handle else {})}


def valid() -> Flow:
    return {
        "name": "Orders",
        "summary": "Routes orders.",
        "nodes": [
            node("webhook_1", "webhook", method="POST"),
            node("set_1", "set_variable", name="limit", value="100"),
            node("if_1", "if_else", condition="{{input.amount}} > {{variables.limit}}"),
            node("slack_1", "slack_message", webhookUrl="", message="Big order {{input.id}}"),
            node("log_1", "log_output", message="Small order", level="info"),
        ],
        "edges": [
            edge("e1", "webhook_1", "set_1"),
            edge("e2", "set_1", "if_1"),
            edge("e3", "if_1", "slack_1", "true"),
            edge("e4", "if_1", "log_1", "false"),
        ],
        "requiredCredentials": [{"node": "slack_1", "field": "webhookUrl"}],
    }


def codes(workflow: object, **options: Any) -> list[str]:
    return [violation.code for violation in validate_workflow(workflow, CATALOG, **options)]


def test_a_valid_workflow_has_no_violations() -> None:
    assert codes(valid()) == []


def config_of(flow: Flow, index: int) -> Flow:
    config: Flow = flow["nodes"][index]["config"]
    return config


MUTATIONS: dict[str, tuple[Callable[[Flow], object], list[str]]] = {
    "the trigger is gone": (lambda f: (f["nodes"].pop(0), f["edges"].pop(0)), ["NO_TRIGGER"]),
    "only a trigger is left": (lambda f: f.update(nodes=f["nodes"][:1], edges=[]), ["NO_NODES"]),
    "nothing is left": (lambda f: f.update(nodes=[], edges=[]), ["NO_NODES"]),
    "an id is used twice": (lambda f: f["nodes"].append(f["nodes"][4]), ["DUPLICATE_NODE_ID"]),
    "an id is used by a second condition": (
        lambda f: f["nodes"].insert(0, node("slack_1", "if_else", condition="x")),
        ["DUPLICATE_NODE_ID"],
    ),
    "the trigger's id is used twice": (lambda f: f["nodes"].append(node("webhook_1", "noop")), ["DUPLICATE_NODE_ID"]),
    "an edge id is used twice": (lambda f: f["edges"][1].update(id="e1"), ["DUPLICATE_EDGE"]),
    "an edge is there twice": (lambda f: f["edges"].append(edge("e9", "set_1", "if_1")), ["DUPLICATE_EDGE"]),
    "a type is unknown": (lambda f: f["nodes"][4].update(type="laser"), ["UNKNOWN_NODE_TYPE"]),
    "the trigger's type is unknown": (lambda f: f["nodes"][0].update(type="laser"), ["UNKNOWN_NODE_TYPE"]),
    "the type behind ways is unknown": (lambda f: f["nodes"][2].update(type="laser"), ["UNKNOWN_NODE_TYPE"]),
    "the type that stores is unknown": (lambda f: f["nodes"][1].update(type="laser"), ["UNKNOWN_NODE_TYPE"]),
    "the name of a variable is missing": (lambda f: config_of(f, 1).pop("name"), ["MISSING_REQUIRED_FIELD"]),
    "the name of a variable is a number": (lambda f: config_of(f, 1).update(name=7), ["INVALID_FIELD_TYPE"]),
    "a field is missing": (lambda f: config_of(f, 4).pop("message"), ["MISSING_REQUIRED_FIELD"]),
    "a field is blank": (lambda f: config_of(f, 4).update(message=" "), ["MISSING_REQUIRED_FIELD"]),
    "an empty credential is not listed": (lambda f: f["requiredCredentials"].clear(), ["MISSING_REQUIRED_FIELD"]),
    "a text is a number": (lambda f: config_of(f, 4).update(message=5), ["INVALID_FIELD_TYPE"]),
    "true is no number": (
        lambda f: f["nodes"].__setitem__(4, node("log_1", "limit", limit=True)),
        ["INVALID_FIELD_TYPE"],
    ),
    "an option is unknown": (lambda f: config_of(f, 0).update(method="YELL"), ["INVALID_OPTION"]),
    "a target is unknown": (lambda f: f["edges"].append(edge("e9", "log_1", "mars")), ["DANGLING_EDGE"]),
    "a source is unknown": (lambda f: f["edges"].append(edge("e9", "mars", "log_1")), ["DANGLING_EDGE"]),
    "a node leads to itself": (lambda f: f["edges"].append(edge("e9", "log_1", "log_1")), ["SELF_LOOP"]),
    "an edge leads to the trigger": (
        lambda f: (
            f["nodes"].append(node("w2", "webhook", method="GET")) or f["edges"].append(edge("e9", "log_1", "w2"))
        ),
        ["EDGE_INTO_TRIGGER"],
    ),
    "an edge leads back": (lambda f: f["edges"].append(edge("e9", "log_1", "if_1")), ["CYCLE"] * 2),
    "a node is alone": (lambda f: f["nodes"].append(node("n_1", "noop")), ["UNREACHABLE_NODE"]),
    "a condition leads on without a branch": (lambda f: f["edges"][3].pop("sourceHandle"), ["BAD_SOURCE_HANDLE"]),
    "a plain node has a branch": (lambda f: f["edges"][0].update(sourceHandle="true"), ["BAD_SOURCE_HANDLE"]),
    "a branch has no edge": (
        lambda f: f["edges"].append(f["edges"].pop() | {"source": "set_1"}) or f["edges"][3].pop("sourceHandle"),
        ["MISSING_BRANCH"],
    ),
    "a placeholder stands for a key": (
        lambda f: config_of(f, 3).update(webhookUrl="YOUR_URL"),
        ["INVENTED_CREDENTIAL"],
    ),
    "a variable is never set": (
        lambda f: config_of(f, 4).update(message="{{variables.x}}"),
        ["BROKEN_TEMPLATE_REFERENCE"],
    ),
    "a variable is used too early": (
        lambda f: config_of(f, 1).update(value="{{variables.limit}}"),
        ["BROKEN_TEMPLATE_REFERENCE"],
    ),
    "a reference has no root": (
        lambda f: config_of(f, 4).update(message="{{secret.key}}"),
        ["BROKEN_TEMPLATE_REFERENCE"],
    ),
    "the name is missing": (lambda f: f.pop("name"), ["MISSING_REQUIRED_FIELD"]),
    "a node is a text": (lambda f: f["nodes"].append("x"), ["INVALID_FIELD_TYPE"]),
    "a forged key": (lambda f: f.update(status="completed"), ["UNKNOWN_KEY"]),
    "a text holds NUL": (lambda f: config_of(f, 4).update(message="a\x00"), ["INVALID_FIELD_TYPE"]),
    "a text holds half a character": (lambda f: config_of(f, 4).update(message="\ud800"), ["INVALID_FIELD_TYPE"]),
    "a number is NaN": (lambda f: config_of(f, 4).update(extra=float("nan")), ["INVALID_FIELD_TYPE"]),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_mutation_yields_exactly_its_violation(name: str) -> None:
    change, expected = MUTATIONS[name]
    flow = valid()
    change(flow)
    assert codes(flow) == expected


def test_both_ways_of_a_condition_must_not_lead_to_the_same_node() -> None:
    flow = valid()
    flow["edges"][3]["target"] = "slack_1"
    flow["nodes"].pop(4)
    assert codes(flow) == ["MISSING_BRANCH"]


def test_an_edge_of_a_condition_needs_true_or_false() -> None:
    flow = valid()
    flow["edges"][2]["sourceHandle"] = "maybe"
    assert codes(flow) == ["BAD_SOURCE_HANDLE"]


def test_a_stray_edge_stands_for_one_missing_way_only() -> None:
    flow = valid()
    flow["edges"][2]["sourceHandle"] = "maybe"
    flow["edges"][3]["sourceHandle"] = "maybe"
    assert codes(flow) == ["BAD_SOURCE_HANDLE"] * 2
    flow["edges"][3] = edge("e4", "set_1", "log_1")
    assert codes(flow) == ["BAD_SOURCE_HANDLE", "MISSING_BRANCH"]


def test_two_edges_for_one_way_are_a_missing_branch() -> None:
    flow = valid()
    flow["edges"].append(edge("e9", "if_1", "log_1", "true"))
    assert codes(flow) == ["MISSING_BRANCH"]


def test_a_switch_leads_by_its_cases_only() -> None:
    flow = valid()
    flow["nodes"][2] = node("if_1", "switch", expression="{{input.kind}}", cases=["a", {"value": "b"}])
    flow["edges"][2]["sourceHandle"], flow["edges"][3]["sourceHandle"] = "a", "b"
    assert codes(flow) == []
    flow["edges"][3]["sourceHandle"] = "c"
    assert codes(flow) == ["BAD_SOURCE_HANDLE"]


def test_a_switch_without_any_edge_has_no_branch() -> None:
    flow = valid()
    flow["nodes"].append(node("s_1", "switch", expression="x"))
    flow["edges"].append(edge("e9", "log_1", "s_1"))
    assert codes(flow) == ["MISSING_BRANCH"]


def test_credentials_must_come_from_the_config_when_that_is_known() -> None:
    flow = valid()
    url = "https://hooks.slack.com/services/T1/B2/zzz"
    config_of(flow, 3)["webhookUrl"] = url
    assert codes(flow) == []
    assert codes(flow, known=Known()) == ["INVENTED_CREDENTIAL"]
    assert codes(flow, known=Known(prompt=f"use {url}")) == ["INVENTED_CREDENTIAL"]
    assert codes(flow, known=Known(frozenset({url}))) == []
    config_of(flow, 3)["webhookUrl"] = "{{input.url}}"
    assert codes(flow, known=Known()) == []


KEY = "k-9f3c51d2"
LOOSE: dict[str, Flow] = {
    "header": {"headers": {"Authorization": f"Bearer {KEY}"}},
    "header pair": {"headers": [{"name": "X-API-Key", "value": KEY}]},
    "deep in a body": {"body": {"auth": [{"client_secret": KEY}]}},
    "a key the catalogue does not know": {"accessToken": KEY},
}


@pytest.mark.parametrize("config", LOOSE.values(), ids=LOOSE)
def test_a_secret_is_not_invented_where_the_catalogue_lists_no_credential_either(config: Flow) -> None:
    flow = valid()
    flow["nodes"][4] = node("log_1", "http_request", url="https://a.example", method="GET", **config)
    assert codes(flow, known=Known()) == ["INVENTED_CREDENTIAL"]
    assert codes(flow, known=Known(frozenset({KEY}))) == []
    assert codes(flow, known=Known(prompt=f"with Bearer {KEY}")) == []
    assert codes(flow) == []
    text = json.dumps(flow)
    for harmless in ("", " ", "{{input.key}}"):
        empty = text.replace(f"Bearer {KEY}", KEY).replace(KEY, harmless)
        assert codes(json.loads(empty), known=Known()) == []
    assert codes(json.loads(text.replace(KEY, "YOUR_API_KEY"))) == ["INVENTED_CREDENTIAL"]


def test_an_empty_secret_anywhere_may_be_listed_for_the_user_to_fill_in() -> None:
    flow = valid()
    flow["nodes"][4] = node("log_1", "http_request", url="https://a.example", headers={"Authorization": ""})
    flow["requiredCredentials"].append({"node": "log_1", "field": "headers.Authorization"})
    assert [warning.code for warning in advise(flow, CATALOG) if warning.code == "NEEDLESS_ENTRY"] == []
    flow["nodes"][4]["config"]["headers"] = {"Authorization": "{{input.key}}"}
    assert [warning.code for warning in advise(flow, CATALOG) if warning.code == "NEEDLESS_ENTRY"] == ["NEEDLESS_ENTRY"]


def test_values_whose_keys_only_sound_like_a_secret_are_taken() -> None:
    flow = valid()
    other = {"max_tokens": "100", "token": 5, "tokenizer": "x", "fields": [{"name": "password", "type": "text"}, 7]}
    flow["nodes"][4] = node("log_1", "http_request", url="https://a.example", method="GET", **other)
    assert codes(flow, known=Known(frozenset({"1"}))) == []
    flow["nodes"][4]["config"] |= {"headers": {"Authorization": "Basic 1234"}}
    assert codes(flow, known=Known(frozenset({"1"}))) == ["INVENTED_CREDENTIAL"]


def test_an_account_may_also_be_named_in_the_prompt() -> None:
    flow = valid()
    flow["nodes"][4] = node("log_1", "google_sheets", operation="append", spreadsheetId="1AbC")
    assert codes(flow, known=Known()) == ["INVENTED_CREDENTIAL"]
    assert codes(flow, known=Known(prompt="Append to sheet 1AbC")) == []


def test_a_node_that_an_edit_drops_must_be_named_in_the_explanation() -> None:
    before = {"nodes": [*valid()["nodes"], node("old_1", "noop")]}
    assert codes({**valid(), "explanation": "Done."}, previous=before) == ["LOST_NODE"]
    for told in ("Removed old_1.", "old_10 and old_1", "删除old_1节点"):
        assert codes({**valid(), "explanation": told}, previous=before) == []
    for told in ("Removed old_10.", "cold_1, old_1_a and x-old_1"):
        assert codes({**valid(), "explanation": told}, previous=before) == ["LOST_NODE"]


def test_an_edit_must_be_explained() -> None:
    before = {"nodes": valid()["nodes"]}
    for flow in (valid(), {**valid(), "explanation": " "}):
        (violation,) = validate_workflow(flow, CATALOG, previous=before)
        assert (violation.code, violation.pointer) == ("MISSING_REQUIRED_FIELD", "/explanation")
    assert codes({**valid(), "explanation": "The limit is 100 now."}, previous=before) == []


def test_a_template_may_stand_for_an_option() -> None:
    flow = valid()
    config_of(flow, 4)["level"] = "{{input.level}}"
    assert codes(flow) == []


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("webhook", {"method": "{{input.method}}"}, "method"),
        ("interval", {"interval": "{{input.every}}"}, "interval"),
        ("schedule", {"time": "{{input.time}}", "timezone": "UTC"}, "time"),
        ("schedule", {"time": "09:00", "timezone": "{{input.zone}}"}, "timezone"),
    ],
)
def test_a_template_cannot_stand_for_when_or_how_a_trigger_starts(kind: str, config: Flow, field: str) -> None:
    flow = valid()
    flow["nodes"][0] |= {"type": kind, "config": config}
    (violation,) = validate_workflow(flow, CATALOG)
    assert (violation.code, violation.pointer) == ("INVALID_OPTION", f"/nodes/0/config/{field}")


@pytest.mark.parametrize("length", [10, 190, 5000])
def test_a_reference_is_checked_however_long_it_is(length: int) -> None:
    flow = valid()
    config_of(flow, 4)["message"] = "{{input." + "a" * length + "}}"
    assert codes(flow) == []
    config_of(flow, 4)["message"] = "{{secrets." + "a" * length + "}}"
    assert codes(flow) == ["BROKEN_TEMPLATE_REFERENCE"]


def test_templates_may_stand_for_any_type_and_code_may_hold_braces() -> None:
    flow = valid()
    flow["nodes"][4] = node("log_1", "loop", array="{{input.items}}")
    assert codes(flow) == []
    flow["nodes"][4] = node("log_1", "javascript", code="return {{a: 1}}")
    assert codes(flow) == []


def test_pointers_name_the_place() -> None:
    flow = valid()
    config_of(flow, 4)["message"] = ""
    flow["nodes"][3]["config"]["a/b~c"] = "{{x.y}}"
    found = validate_workflow(flow, CATALOG)
    assert [violation.pointer for violation in found] == ["/nodes/4/config/message", "/nodes/3/config/a~1b~0c"]


@pytest.mark.parametrize("junk", [None, 1, "x", [], {}, {"nodes": 1}, {"nodes": [], "edges": {}}, [[[]]], float("inf")])
def test_any_json_value_may_be_asked_about(junk: object) -> None:
    assert codes(junk)


def test_the_validator_changes_nothing() -> None:
    flow = valid()
    before = copy.deepcopy(flow)
    validate_workflow(flow, CATALOG, known=Known())
    assert flow == before


def test_messages_hold_no_control_characters() -> None:
    flow = valid()
    flow["nodes"][4]["type"] = "\x1b[31mred\x1b[0m\r\n"
    text = validate_workflow(flow, CATALOG)[0].message
    assert text == "There is no node type red."
