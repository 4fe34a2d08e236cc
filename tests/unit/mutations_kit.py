"""One fault each, put into a valid workflow, and the code of the violation that it must yield."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from schemas.catalog import Catalog, Field
from tests.unit.workflows_kit import BRANCHING, Draw, Flow

CATALOG = Catalog.load()


def plain(flow: Flow) -> list[Flow]:
    return [node for node in steps(flow) if node["type"] not in BRANCHING]


def steps(flow: Flow) -> list[Flow]:
    return [node for node in flow["nodes"] if not CATALOG[node["type"]].trigger]


def branching(flow: Flow, *kinds: str) -> list[Flow]:
    return [node for node in flow["nodes"] if node["type"] in (kinds or BRANCHING)]


def ways_out(flow: Flow, node: Flow) -> list[Flow]:
    return [edge for edge in flow["edges"] if edge["source"] == node["id"]]


def before(flow: Flow, node: Flow) -> str:
    return next(str(edge["source"]) for edge in flow["edges"] if edge["target"] == node["id"])


def join(flow: Flow, source: str, target: str) -> None:
    flow["edges"].append({"id": "extra", "source": source, "target": target})


def extra(name: str, kind: str = "noop") -> Flow:
    return {"id": name, "type": kind, "position": {"x": 0, "y": 0}, "config": {}}


def pick(draw: Draw, options: list[Any]) -> Any:
    assume(options)
    return options[draw(st.integers(0, len(options) - 1))]


def fields(flow: Flow, wanted: Callable[[Field, Flow], bool]) -> list[tuple[Flow, Field]]:
    return [
        (node, field)
        for node in flow["nodes"]
        for field in CATALOG[node["type"]].fields
        if wanted(field, node["config"])
    ]


def drop_the_triggers(draw: Draw, flow: Flow) -> None:
    flow["nodes"] = steps(flow)
    left = {node["id"] for node in flow["nodes"]}
    flow["edges"] = [edge for edge in flow["edges"] if edge["source"] in left]


def drop_the_steps(draw: Draw, flow: Flow) -> None:
    gone = [node["id"] for node in steps(flow)]
    flow["nodes"] = [node for node in flow["nodes"] if node["id"] not in gone]
    flow["edges"], flow["requiredCredentials"] = [], []


def duplicate_an_id(draw: Draw, flow: Flow) -> None:
    node = pick(draw, flow["nodes"])
    flow["nodes"].append(copy.deepcopy(node) if draw(st.booleans()) else extra(node["id"]))


def dangle(draw: Draw, flow: Flow) -> None:
    node = pick(draw, plain(flow))
    join(flow, *((node["id"], "nobody") if draw(st.booleans()) else ("nobody", node["id"])))


def loop_on_itself(draw: Draw, flow: Flow) -> None:
    name = pick(draw, plain(flow))["id"]
    join(flow, name, name)


def close_a_cycle(draw: Draw, flow: Flow) -> None:
    names = [node["id"] for node in steps(flow)]
    ends = [node["id"] for node in plain(flow)]
    edge = pick(draw, [edge for edge in flow["edges"] if edge["source"] in names and edge["target"] in ends])
    join(flow, edge["target"], edge["source"])


def forget_a_type(draw: Draw, flow: Flow) -> None:
    pick(draw, flow["nodes"])["type"] = "laser"


def remove_a_field(draw: Draw, flow: Flow) -> None:
    node, field = pick(draw, fields(flow, lambda field, config: field.needed(config)))
    change = draw(st.sampled_from(["remove", "null", "blank"]))
    if change == "remove" or field.blank:
        node["config"].pop(field.name)
    else:
        node["config"][field.name] = None if change == "null" else " "
    flow["requiredCredentials"] = [entry for entry in flow["requiredCredentials"] if entry["node"] != node["id"]]


def mistype_a_field(draw: Draw, flow: Flow) -> None:
    node, field = pick(draw, fields(flow, lambda field, config: field.name in config))
    node["config"][field.name] = True if field.type == "number" else draw(st.sampled_from([7, 0.5]))


def choose_no_option(draw: Draw, flow: Flow) -> None:
    node, field = pick(
        draw,
        fields(
            flow,
            lambda field, config: (
                field.name in config and (bool(field.format) or bool(field.options and not field.open))
            ),
        ),
    )
    node["config"][field.name] = 0.5 if field.type == "number" else draw(st.sampled_from(["YELL", "post", "9 o'clock"]))


def leave_by_no_exit(draw: Draw, flow: Flow) -> None:
    kinds = {node["id"]: node for node in flow["nodes"]}
    edge = pick(draw, flow["edges"])
    source = kinds[edge["source"]]
    if source["type"] not in BRANCHING:
        edge["sourceHandle"] = "true"
    elif source["config"].get("cases") or source["type"] == "if_else":
        edge["sourceHandle"] = "maybe"
    else:
        edge.pop("sourceHandle")


def take_a_way_out_away(draw: Draw, flow: Flow) -> None:
    node = pick(draw, branching(flow, "if_else"))
    way = pick(draw, ways_out(flow, node))
    way["source"] = before(flow, node)
    way.pop("sourceHandle")


def lead_both_ways_to_one_node(draw: Draw, flow: Flow) -> None:
    node = pick(draw, branching(flow, "if_else"))
    one, other = ways_out(flow, node)
    join(flow, before(flow, node), other["target"])
    other["target"] = one["target"]


def cut_a_switch_off(draw: Draw, flow: Flow) -> None:
    node = pick(draw, branching(flow, "switch"))
    for way in ways_out(flow, node):
        way["source"] = before(flow, node)
        way.pop("sourceHandle")


def break_a_reference(draw: Draw, flow: Flow) -> None:
    text = draw(st.sampled_from(["{{variables.nobody}}", "{{secret.key}}", "{{variables}}", "{{}}", "{{input..a}}"]))
    pick(draw, flow["nodes"])["config"]["note"] = [{"deep": text}]


def invent_a_credential(draw: Draw, flow: Flow) -> None:
    node, field = pick(draw, fields(flow, lambda field, config: field.credential))
    node["config"][field.name] = draw(st.sampled_from(["YOUR_API_KEY", "<token>", "xxxxxxxx"]))


def repeat_an_edge(draw: Draw, flow: Flow) -> None:
    edge = pick(draw, flow["edges"])
    flow["edges"].append({**edge, "id": draw(st.sampled_from([edge["id"], "extra"]))})


def give_two_edges_one_id(draw: Draw, flow: Flow) -> None:
    flow["edges"][0]["id"] = flow["edges"][1]["id"]


def leave_nodes_alone(draw: Draw, flow: Flow) -> None:
    flow["nodes"] += [extra("lone_1"), extra("lone_2")]
    if draw(st.booleans()):
        join(flow, "lone_1", "lone_2")


def lead_into_a_trigger(draw: Draw, flow: Flow) -> None:
    flow["nodes"].append(extra("start", "manual_trigger"))
    join(flow, pick(draw, plain(flow))["id"], "start")


def write_too_much(draw: Draw, flow: Flow) -> None:
    pick(draw, flow["nodes"])["label"] = "x" * 201


def forge_a_key(draw: Draw, flow: Flow) -> None:
    pick(draw, [flow, *flow["nodes"], *flow["edges"]])["status"] = "completed"


def write_what_cannot_be_stored(draw: Draw, flow: Flow) -> None:
    pick(draw, flow["nodes"])["config"]["note"] = draw(st.sampled_from(["\0", "\ud800", float("nan"), {"\0": 1}]))


Mutation = Callable[[Draw, Flow], None]
MUTATIONS: list[tuple[Mutation, str, str | None]] = [
    (drop_the_triggers, "NO_TRIGGER", None),
    (drop_the_steps, "NO_NODES", None),
    (duplicate_an_id, "DUPLICATE_NODE_ID", None),
    (dangle, "DANGLING_EDGE", None),
    (loop_on_itself, "SELF_LOOP", None),
    (close_a_cycle, "CYCLE", None),
    (forget_a_type, "UNKNOWN_NODE_TYPE", "set_variable"),
    (remove_a_field, "MISSING_REQUIRED_FIELD", "set_variable"),
    (mistype_a_field, "INVALID_FIELD_TYPE", "stripe"),
    (choose_no_option, "INVALID_OPTION", "aggregate"),
    (leave_by_no_exit, "BAD_SOURCE_HANDLE", "if_else"),
    (leave_by_no_exit, "BAD_SOURCE_HANDLE", "switch"),
    (take_a_way_out_away, "MISSING_BRANCH", "if_else"),
    (lead_both_ways_to_one_node, "MISSING_BRANCH", "if_else"),
    (cut_a_switch_off, "MISSING_BRANCH", "switch"),
    (break_a_reference, "BROKEN_TEMPLATE_REFERENCE", None),
    (invent_a_credential, "INVENTED_CREDENTIAL", "slack_message"),
    (repeat_an_edge, "DUPLICATE_EDGE", "if_else"),
    (give_two_edges_one_id, "DUPLICATE_EDGE", None),
    (leave_nodes_alone, "UNREACHABLE_NODE", None),
    (lead_into_a_trigger, "EDGE_INTO_TRIGGER", None),
    (write_too_much, "TOO_LARGE", None),
    (forge_a_key, "UNKNOWN_KEY", None),
    (write_what_cannot_be_stored, "INVALID_FIELD_TYPE", None),
]  # fmt: skip
