"""A new node goes where the words say: between two nodes, or before one, with its edges and its place."""

from __future__ import annotations

from itertools import pairwise

import pytest

from consumer.job import JsonObject
from tests.unit.handlers_kit import job, log, routes, step_of, workflow_of

NAMES = ("start", "get", "tell", "end")
FLOW: JsonObject = {
    "name": "Orders",
    "summary": "Routes orders.",
    "nodes": [
        {"id": "start", "type": "webhook", "label": "New order", "config": {"method": "POST"}},
        {"id": "get", "type": "http_request", "label": "Get customer", "config": {"url": "https://a.example"}},
        {"id": "tell", "type": "slack_message", "label": "Tell sales", "config": {"webhookUrl": "u", "message": "m"}},
        {"id": "end", "type": "log_output", "label": "Keep a trace", "config": {"message": "m"}},
    ],
    "edges": [
        {"id": "a", "source": "start", "target": "get"},
        {"id": "b", "source": "get", "target": "tell"},
        {"id": "c", "source": "tell", "target": "end"},
    ],
}
for number, node in enumerate(FLOW["nodes"]):
    node["position"] = {"x": 13.5 + 700 * number, "y": -40 - 3 * number}
FILTER = step_of("filter", "get", array="{{input.items}}", condition="{{input.total}} > 5")


def edited(prompt: str, *added: JsonObject, flow: JsonObject = FLOW) -> JsonObject:
    new = {f"n{number}": step for number, step in enumerate(added, start=1)}
    return workflow_of(job(prompt, mode="edit", current_workflow=flow), {"explanation": "x", "add": new})


def pairs(flow: JsonObject) -> set[tuple[str, str]]:
    return {(source, target) for source, target, _ in routes(flow)}


@pytest.mark.parametrize(
    "prompt",
    [
        "Add a filter between Get customer and Tell sales",
        "Insert a filter between the HTTP request and the Slack message that keeps large orders, and log nothing.",
        "Put a filter between slack_message and http_request",
        "Füge zwischen get und tell einen Filter ein",
        "Añade un filtro entre get y tell",
        "Add a filter before the Slack message",
        "Before telling sales on Slack, add a filter.",
        "Insert a filter step after Get customer and before Tell sales",
    ],
)
@pytest.mark.parametrize("after", ["get", "tell", "end", "nobody", None])
def test_a_new_node_is_wired_and_placed_between_the_two_that_the_words_name(prompt: str, after: str | None) -> None:
    flow = edited(prompt, {**FILTER, "after": after})
    assert pairs(flow) == {("start", "get"), ("get", "filter_1"), ("filter_1", "tell"), ("tell", "end")}
    assert flow["nodes"][:4] == FLOW["nodes"]
    assert flow["nodes"][4]["position"] == {"x": 1014, "y": -43}


def test_a_label_of_one_letter_is_not_named_by_a_word_of_the_sentence() -> None:
    nodes = [FLOW["nodes"][0], {**FLOW["nodes"][1], "id": "n1"}, {**FLOW["nodes"][2], "id": "n2", "label": "A"}]
    ways = [("start", "n1"), ("start", "n2"), ("n1", "n2")]
    edges = [{"id": f"e{source}{target}", "source": source, "target": target} for source, target in ways]
    flow = {**FLOW, "nodes": nodes, "edges": edges}
    assert ("filter_1", "n1") in pairs(edited("Add a filter between start and a step n1", FILTER, flow=flow))
    assert ("filter_1", "n2") in pairs(edited("Add a filter between n1 and n2", FILTER, flow=flow))


def test_two_new_nodes_in_a_row_go_between_together() -> None:
    flow = edited("Add a filter and a log between get and tell", FILTER, log("n1"))
    assert pairs(flow) == {
        ("start", "get"), ("get", "filter_1"), ("filter_1", "log_output_1"), ("log_output_1", "tell"), ("tell", "end"),
    }  # fmt: skip
    xs = [node["position"]["x"] for node in flow["nodes"]]
    assert xs[1] < xs[4] < xs[5] < xs[2]


def test_what_the_answer_puts_elsewhere_stays_there() -> None:
    flow = edited("Add a filter between get and tell, and a log at the end", FILTER, log("end"))
    assert {("get", "filter_1"), ("filter_1", "tell"), ("end", "log_output_1")} <= pairs(flow)
    assert ("get", "tell") not in pairs(flow)


def test_a_condition_between_two_nodes_goes_on_when_it_is_true() -> None:
    flow = edited("Add an if between get and tell", step_of("if_else", "get", condition="{{input.total}} > 5"))
    assert [route for route in routes(flow) if route[0] == "if_else_1"] == [
        ("if_else_1", "tell", "true"),
        ("if_else_1", "noop_1", "false"),
    ]


def test_the_way_of_a_branch_that_is_led_through_keeps_its_name() -> None:
    branch = {"id": "if", "type": "if_else", "label": "Large?", "config": {"condition": "{{input.total}} > 5"}}
    flow = {
        **FLOW,
        "nodes": [FLOW["nodes"][0], branch, *FLOW["nodes"][2:]],
        "edges": [
            {"id": "a", "source": "start", "target": "if"},
            {"id": "b", "source": "if", "target": "tell", "sourceHandle": "true"},
            {"id": "c", "source": "if", "target": "end", "sourceHandle": "false"},
        ],
    }
    after = edited("Add a filter between Large? and Tell sales", FILTER, flow=flow)
    assert routes(after)[1] == ("if", "filter_1", "true")
    assert ("filter_1", "tell", None) in routes(after)
    assert ("if", "end", "false") in routes(after)


def test_all_that_leads_to_a_node_leads_to_what_is_put_before_it() -> None:
    flow = {**FLOW, "edges": [*FLOW["edges"], {"id": "d", "source": "get", "target": "end"}]}
    after = edited("Add a filter before Keep a trace", FILTER, flow=flow)
    assert [pair for pair in pairs(after) if pair[1] == "end"] == [("filter_1", "end")]
    assert {("tell", "filter_1"), ("get", "filter_1")} <= pairs(after)


@pytest.mark.parametrize(
    "prompt",
    [
        "Add a filter after Get customer",
        "Add a filter between the webhook and the log",
        "Add a filter between somewhere and nowhere",
        "Add a filter before noon",
        "Add a filter before the webhook",
        "Add a filter before Slack or the log",
    ],
)
def test_where_the_words_name_no_single_place_the_answer_decides(prompt: str) -> None:
    flow = edited(prompt, FILTER)
    assert pairs(flow) == {*pairwise(NAMES), ("get", "filter_1")}


def test_new_nodes_that_lead_to_each_other_lose_nothing() -> None:
    flow = edited("Add two logs between get and tell", log("n2"), log("n1"))
    assert {("start", "get"), ("tell", "end")} <= pairs(flow)
    assert {"log_output_1", "log_output_2"} <= {node["id"] for node in flow["nodes"]}


def test_of_two_places_that_the_words_may_mean_none_is_taken() -> None:
    twin = {**FLOW["nodes"][2], "id": "tell_2", "label": "Tell support", "position": {"x": 0, "y": 900}}
    edge = {"id": "d", "source": "get", "target": "tell_2"}
    flow = {**FLOW, "nodes": [*FLOW["nodes"], twin], "edges": [*FLOW["edges"], edge]}
    assert {("get", "tell"), ("get", "tell_2")} < pairs(edited("Add a filter between get and Slack", FILTER, flow=flow))
    assert ("filter_1", "tell_2") in pairs(edited("Add a filter between get and Tell support", FILTER, flow=flow))
