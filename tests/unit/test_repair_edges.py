"""Edges and branches are repaired where there is one right answer, and every repair is told."""

from __future__ import annotations

from tests.unit.handlers_kit import answer, codes, job, log, routes, slack, step_of, validated, workflow_of


def test_a_sound_answer_needs_no_repair_of_edges() -> None:
    value = validated(job(), answer(slack("trigger"), log("n1")))
    assert codes(value) == []
    assert routes(value["workflow"]) == [
        ("webhook_1", "slack_message_1", None),
        ("slack_message_1", "log_output_1", None),
    ]


def test_a_node_without_input_follows_the_one_before() -> None:
    value = validated(job(), answer(slack(), log()))
    assert codes(value) == ["UNREACHABLE_NODE"] * 2
    assert routes(value["workflow"]) == [
        ("webhook_1", "slack_message_1", None),
        ("slack_message_1", "log_output_1", None),
    ]


def test_dangling_own_and_repeated_edges_are_dropped() -> None:
    value = validated(job(), answer(slack(["trigger", "trigger", "n9", "n1"])))
    assert sorted(codes(value)) == ["DANGLING_EDGE", "DUPLICATE_EDGE", "SELF_LOOP"]
    assert routes(value["workflow"]) == [("webhook_1", "slack_message_1", None)]


def test_an_edge_back_is_dropped() -> None:
    value = validated(job(), answer(slack(["trigger", "n2"]), log("n1")))
    assert codes(value) == ["CYCLE"]
    assert routes(value["workflow"]) == [
        ("webhook_1", "slack_message_1", None),
        ("slack_message_1", "log_output_1", None),
    ]


def test_a_cycle_that_no_trigger_reaches_is_cut_and_connected() -> None:
    value = validated(job(), answer(slack("n2"), log("n1")))
    assert sorted(codes(value)) == ["CYCLE", "UNREACHABLE_NODE"]


def test_steps_stated_out_of_order_keep_their_edges() -> None:
    value = validated(job(), answer(slack("n2"), log("trigger")))
    assert codes(value) == []
    assert routes(value["workflow"]) == [("log_output_1", "slack_message_1", None), ("webhook_1", "log_output_1", None)]


def test_an_edge_into_the_trigger_is_dropped() -> None:
    listed = {
        "nodes": [{"id": "a", "type": "webhook", "config": {"method": "GET"}}, {"id": "b", **slack()}],
        "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "a"}],
    }
    value = validated(job(), listed)
    assert codes(value) == ["EDGE_INTO_TRIGGER"]


def test_a_plain_node_loses_its_handle() -> None:
    value = validated(job(), answer(slack("trigger"), log("n1.true")))
    assert codes(value) == ["BAD_SOURCE_HANDLE"]


def condition(after: str = "trigger") -> dict[str, object]:
    return step_of("if_else", after, condition="{{input.a}} > 1")


def test_ways_without_a_name_are_true_then_false() -> None:
    flow = workflow_of(job(), answer(condition(), slack("n1"), log("n1")))
    assert routes(flow)[1:] == [("if_else_1", "slack_message_1", "true"), ("if_else_1", "log_output_1", "false")]


def test_yes_and_no_are_true_and_false() -> None:
    flow = workflow_of(job(), answer(condition(), slack("n1.no"), log("n1.yes")))
    assert routes(flow)[1:] == [("if_else_1", "slack_message_1", "false"), ("if_else_1", "log_output_1", "true")]


def test_a_missing_way_leads_to_nothing() -> None:
    value = validated(job(), answer(condition(), slack("n1.true")))
    assert codes(value) == ["MISSING_BRANCH"]
    assert ("if_else_1", "noop_1", "false") in routes(value["workflow"])


def test_a_condition_at_the_end_gets_both_ways() -> None:
    flow = workflow_of(job(), answer(condition()))
    assert [node["type"] for node in flow["nodes"]] == ["webhook", "if_else", "noop", "noop"]


def test_two_steps_on_one_way_keep_running_on_that_way() -> None:
    flow = workflow_of(job(), answer(condition(), slack("n1.true"), log("n1.true")))
    assert set(routes(flow)[1:]) == {
        ("noop_1", "slack_message_1", None),
        ("noop_1", "log_output_1", None),
        ("if_else_1", "noop_1", "true"),
        ("if_else_1", "noop_2", "false"),
    }


def test_both_ways_to_one_step_are_kept_apart_by_a_noop() -> None:
    flow = workflow_of(job(), answer(condition(), slack(["n1.true", "n1.false"])))
    assert set(routes(flow)[1:]) == {
        ("if_else_1", "slack_message_1", "true"),
        ("if_else_1", "noop_1", "false"),
        ("noop_1", "slack_message_1", None),
    }


def switch(*cases: str) -> dict[str, object]:
    return step_of("switch", "trigger", expression="{{input.kind}}", cases=list(cases))


def test_the_second_case_of_a_switch_is_its_second_value() -> None:
    flow = workflow_of(job(), answer(switch("bug", "idea"), slack("n1.case2"), log("n1.case1")))
    assert routes(flow)[1:] == [("switch_1", "slack_message_1", "idea"), ("switch_1", "log_output_1", "bug")]


def test_a_way_out_of_a_switch_takes_a_case_that_is_left() -> None:
    flow = workflow_of(job(), answer(switch("bug", "idea"), slack("n1.bug"), log("n1")))
    assert routes(flow)[2] == ("switch_1", "log_output_1", "idea")


def test_a_case_that_only_an_edge_names_becomes_a_case() -> None:
    flow = workflow_of(job(), answer(switch("bug"), slack("n1.other")))
    assert flow["nodes"][1]["config"]["cases"] == ["bug", "other"]


def test_cases_that_are_no_list_give_way_to_those_that_edges_take() -> None:
    flow = workflow_of(job(), answer(step_of("switch", "trigger", expression="{{input.kind}}", cases=1), log("n1.bug")))
    assert flow["nodes"][1]["config"]["cases"] == ["bug"]
    assert routes(flow)[1] == ("switch_1", "log_output_1", "bug")


def test_a_switch_at_the_end_leads_to_nothing() -> None:
    flow = workflow_of(job(), answer(switch("bug")))
    assert routes(flow)[1] == ("switch_1", "noop_1", "bug")


def test_no_two_nodes_overlap_and_branches_go_down() -> None:
    flow = workflow_of(job(), answer(condition(), slack("n1.true"), log("n1.false"), slack("n2"), log("n3")))
    places = [(node["position"]["x"], node["position"]["y"]) for node in flow["nodes"]]
    assert places[:4] == [(250, 100), (550, 100), (850, 100), (850, 250)]
    assert places[4:] == [(1150, 100), (1150, 250)]
    assert len(set(places)) == len(places)
