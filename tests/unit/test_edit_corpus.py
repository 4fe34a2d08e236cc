"""Edit mode loses no node, whatever the model answers: every case of the corpus ends as labelled, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import WorkflowInvalid
from consumer.job import JsonObject
from tests.unit.handlers_kit import codes, job, model_step, routes, validated

FOLDER = Path(__file__).parents[1] / "corpus" / "edits"
CASES: list[JsonObject] = [
    {**json.loads(line), "file": file.stem}
    for file in sorted(FOLDER.glob("*.jsonl"))
    for line in file.read_text(encoding="utf-8").splitlines()
]


def labelled(word: str | None) -> list[Any]:
    """The cases that expect a violation, or (None) a workflow."""
    return [
        pytest.param(case, id=f"{case['file']}/{case['name']}")
        for case in CASES
        if ("violation" in case["expect"]) == (word == "violation")
    ]


def outcome(case: JsonObject) -> JsonObject:
    """What the validate step makes of the case's answer; it pleases the validator, or raises."""
    columns = {"current_workflow": case["current_workflow"], "config": case.get("config")}
    return validated(job(case["prompt"], mode="edit", **columns), case["answer"])


def original(case: JsonObject) -> dict[str, JsonObject]:
    """The nodes by id as the editor had them: flat, with `read_as` for what an old editor wrote otherwise."""
    found: dict[str, JsonObject] = {}
    for number, node in enumerate(case["current_workflow"]["nodes"]):
        data = node.get("data", node)
        name = str(node["id"])
        name = name if name not in found else list(case["read_as"])[number - len(case["current_workflow"]["nodes"])]
        flat = {"id": name, "type": data["type"], "position": node["position"], "config": data["config"]}
        found[name] = {**flat, **case["read_as"].get(name, {})}
    return found


def kept(node: JsonObject) -> str:
    """The bytes of what an edit must not touch."""
    return json.dumps({key: node[key] for key in ("id", "type", "position", "config")}, sort_keys=True)


@pytest.mark.parametrize("case", labelled(None))
def test_every_node_that_was_not_named_is_byte_identical(case: JsonObject) -> None:
    nodes = {node["id"]: node for node in outcome(case)["workflow"]["nodes"]}
    before, changed = original(case), case["expect"].get("changed", {})
    stay = [name for name in before if name not in case["expect"].get("removed", ())]
    wanted = [{**before[name], "config": {**before[name]["config"], **changed.get(name, {})}} for name in stay]
    assert [kept(nodes[name]) for name in stay if name in nodes] == [kept(node) for node in wanted]


@pytest.mark.parametrize("case", labelled(None))
def test_a_node_goes_only_when_asked_and_is_told(case: JsonObject) -> None:
    flow = outcome(case)["workflow"]
    gone = original(case).keys() - {node["id"] for node in flow["nodes"]}
    assert gone == set(case["expect"].get("removed", ()))
    assert all(f"({name})" in flow["explanation"] for name in gone)


@pytest.mark.parametrize("case", labelled(None))
def test_what_is_new_is_what_was_asked_and_lies_free(case: JsonObject) -> None:
    flow = outcome(case)["workflow"]
    new = [node for node in flow["nodes"] if node["id"] not in original(case)]
    assert [node["type"] for node in new] == case["expect"].get("added", [])
    places = [(node["position"]["x"], node["position"]["y"]) for node in flow["nodes"]]
    assert len(set(places)) == len(places)
    ends = [[source, target] for source, target, _ in routes(flow)]
    assert [edge for edge in case["expect"].get("edges", []) if edge not in ends] == []


@pytest.mark.parametrize("case", labelled(None))
def test_the_result_says_what_was_refused_and_when_nothing_changed(case: JsonObject) -> None:
    value = outcome(case)
    assert set(case["expect"].get("repairs", ())) <= set(codes(value))
    assert ("LOST_NODE" in codes(value)) == ("LOST_NODE" in case["expect"].get("repairs", ()))
    assert (value["workflow"]["explanation"] == "Nothing was changed.") == case["expect"].get("unchanged", False)


@pytest.mark.parametrize("case", labelled("violation"))
def test_what_has_no_right_answer_is_refused(case: JsonObject) -> None:
    with pytest.raises(WorkflowInvalid) as caught:
        outcome(case)
    assert case["expect"]["violation"] in {violation.code for violation in caught.value.violations}


def test_the_corpus_holds_forty_cases_in_both_forms() -> None:
    assert len(CASES) >= 40
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert sum("data" in case["current_workflow"]["nodes"][0] for case in CASES) >= 5


@pytest.mark.parametrize("case", labelled(None))
def test_the_model_is_offered_only_what_the_prompt_asks_to_remove(case: JsonObject) -> None:
    columns = {"current_workflow": case["current_workflow"], "config": case.get("config")}
    schema = model_step("edit", "generate").request(job(case["prompt"], mode="edit", **columns), {}, 0).schema
    offered = schema["properties"].get("remove", {"items": {"enum": []}})["items"]["enum"]
    assert set(case["expect"].get("removed", ())) <= set(offered)
    assert set(offered) <= set(case["may_go"]) or "last step" in case["prompt"]
