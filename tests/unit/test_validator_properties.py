"""A valid workflow stays valid however it is named, ordered and laid out; each mutation yields its violation only."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.catalog import Catalog
from schemas.validator import Known, validate_workflow
from tests.unit.mutations_kit import MUTATIONS, Mutation, extra
from tests.unit.workflows_kit import Draw, Flow, workflows

CATALOG = Catalog.load()
EXAMPLES = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)


def codes(flow: Flow, **options: Any) -> list[str]:
    return sorted(violation.code for violation in validate_workflow(flow, CATALOG, **options))


def renamed(draw: Draw, flow: Flow) -> None:
    """Other ids for all nodes and edges; what names no node stays."""
    old = list(dict.fromkeys(node["id"] for node in flow["nodes"]))
    fresh = draw(st.lists(NAMES, min_size=len(old), max_size=len(old), unique=True))
    names = dict(zip(old, fresh, strict=True))
    for node in flow["nodes"]:
        node["id"] = names[node["id"]]
    for edge in flow["edges"]:
        edge.update({end: names.get(edge[end], edge[end]) for end in ("source", "target")})
        edge["id"] = f"~{edge['id']}"
    for entry in flow["requiredCredentials"]:
        entry["node"] = names[entry["node"]]


def reordered(draw: Draw, flow: Flow) -> None:
    for part in ("nodes", "edges", "requiredCredentials"):
        flow[part] = draw(st.permutations(flow[part]))
    for node in flow["nodes"]:
        node["config"] = dict(draw(st.permutations(list(node["config"].items()))))


def moved(draw: Draw, flow: Flow) -> None:
    for node in flow["nodes"]:
        node["position"] = {axis: draw(st.integers(-9999, 9999)) for axis in "xy"}


@EXAMPLES
@given(st.data(), workflows())
def test_a_valid_workflow_stays_valid_under_renaming_reordering_and_layout(data: st.DataObject, flow: Flow) -> None:
    assert codes(flow) == []
    for change in (renamed, reordered, moved):
        change(data.draw, flow)
        assert codes(flow) == []


@pytest.mark.parametrize(("mutation", "code", "must_have"), MUTATIONS)
@EXAMPLES
@given(data=st.data())
def test_a_mutation_yields_its_violation_and_no_other(
    data: st.DataObject, mutation: Mutation, code: str, must_have: str | None
) -> None:
    flow = data.draw(workflows(must_have))
    mutation(data.draw, flow)
    found = codes(flow)
    assert set(found) == {code}
    # Nor does it matter to what is wrong how things are named and ordered.
    for change in (renamed, reordered, moved):
        change(data.draw, flow)
        assert codes(flow) == found


@EXAMPLES
@given(workflows())
def test_a_node_that_an_edit_drops_is_a_violation_until_the_explanation_names_it(flow: Flow) -> None:
    previous = {"nodes": [*flow["nodes"], extra("old_1")]}
    assert codes({**flow, "explanation": "Done."}, previous=previous) == ["LOST_NODE"]
    assert codes({**flow, "explanation": "old_1 is gone."}, previous=previous) == []


@EXAMPLES
@given(workflows("slack_message"))
def test_what_the_user_never_gave_is_invented(flow: Flow) -> None:
    node = flow["nodes"][-1]
    node["config"]["webhookUrl"] = "https://hooks.slack.com/1"
    config = [str(value) for node in flow["nodes"] for value in node["config"].values()]
    url = node["config"]["webhookUrl"]
    assert codes(flow, known=Known(frozenset(config))) == []
    assert set(codes(flow, known=Known(frozenset(config) - {url}, prompt=url))) == {"INVENTED_CREDENTIAL"}


@EXAMPLES
@given(workflows())
def test_the_validator_is_a_pure_function(flow: Flow) -> None:
    flow["nodes"].append(extra("lone"))
    given_flow = copy.deepcopy(flow)
    assert validate_workflow(flow, CATALOG) == validate_workflow(given_flow, Catalog.load())
    assert flow == given_flow


SCRIPT = """
from schemas.catalog import Catalog
from schemas.validator import validate_workflow
nodes = [{"id": f"n{i}", "type": "if_else", "position": {"x": 0, "y": 0}, "config": {}} for i in range(9)]
edges = [{"id": f"e{i}", "source": f"n{i}", "target": f"n{i * 2 % 9}"} for i in range(9)]
flow = {"name": "x", "summary": "", "nodes": nodes, "edges": edges, "requiredCredentials": []}
print(validate_workflow(flow, Catalog.load()))
"""


def test_the_order_of_hashes_changes_nothing() -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in "123"
    }
    assert len(seen) == 1
    assert b"CYCLE" in seen.pop()
