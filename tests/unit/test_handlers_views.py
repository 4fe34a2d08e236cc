"""The text graph for a terminal and the editor's form of a workflow."""

from __future__ import annotations

from handlers.editor import editor_form
from handlers.graph import draw
from tests.unit.handlers_kit import answer, job, log, slack, step_of, workflow_of


def test_a_graph_shows_order_types_and_branches() -> None:
    flow = workflow_of(
        job(), answer(step_of("if_else", "trigger", condition="x"), slack("n1.true"), log("n1.false"), log("n2"))
    )
    assert draw(flow).splitlines() == [
        "Test",
        "Start [webhook]",
        "↓ if_else [if_else]",
        "├─ true: slack_message [slack_message]",
        "│  ↓ log_output [log_output]",
        "└─ false: log_output [log_output]",
    ]


def test_a_node_met_again_is_only_named() -> None:
    flow = workflow_of(job(), answer(slack("trigger"), log("trigger"), step_of("merge", ["n1", "n2"])))
    assert draw(flow).count("merge [merge]") == 2
    assert draw(flow).endswith("merge [merge] (see above)")


def test_hostile_labels_cannot_move_the_cursor() -> None:
    flow = workflow_of(job(), answer(slack("trigger")))
    flow["nodes"][1]["label"] = "\x1b[2J\x1b]0;pwned\x07evil\r\nline\u202e" + "x" * 500
    text = draw(flow)
    assert "\x1b" not in text and "\r" not in text and "\u202e" not in text
    assert len(text.splitlines()) == 3 and max(map(len, text.splitlines())) < 120


def test_a_broken_workflow_is_drawn_without_end() -> None:
    nodes = [{"id": "a", "type": "x"}, {"id": "b", "type": "y"}]
    edges = [{"source": "a", "target": "b"}, {"source": "b", "target": "a"}, {"source": "a", "target": "z"}]
    assert draw({"name": "", "nodes": nodes, "edges": edges}).splitlines()[1:] == [
        "a [x]",
        "↓ b [y]",
        "↓ a [x] (see above)",
    ]


def test_a_long_chain_is_drawn() -> None:
    nodes = [{"id": str(i), "type": "noop"} for i in range(5000)]
    edges = [{"source": str(i), "target": str(i + 1)} for i in range(4999)]
    assert len(draw({"name": "n", "nodes": nodes, "edges": edges}).splitlines()) == 5001


def test_the_editor_form_wraps_nodes_as_custom_and_forms_as_form() -> None:
    fields = [{"question": "Name", "kind": "text", "required": True}]
    start = {"type": "form", "label": "Ask", "config": {"formTitle": "T", "formDescription": "D", "fields": fields}}
    flow = workflow_of(job("When the form is sent"), answer(slack("trigger"), trigger=start))
    form = editor_form(flow)
    assert [node["type"] for node in form["nodes"]] == ["form", "custom"]
    assert form["viewport"] == {"x": 0, "y": 0, "zoom": 1}
    assert form["nodes"][1]["data"] == {
        "type": "slack_message",
        "label": "slack_message",
        "category": "output",
        "icon": "Send",
        "config": flow["nodes"][1]["config"],
    }
    assert form["edges"] == flow["edges"]
    assert "data" not in flow["nodes"][0]
