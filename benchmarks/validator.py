"""What judging and repairing a workflow costs, by its size and against one pass of `jsonschema` in the same run.

Called by `make bars`; alone: `python -m benchmarks.validator`. CPU time, so a busy machine changes little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.lines import Bars, Line
from consumer.job import Attempt, Job, JobId
from consumer.ports import CodeStep
from handlers.registry import handler_for
from schemas import rules_edges, rules_nodes, rules_templates
from schemas.catalog import Catalog
from schemas.documents import checker
from schemas.subject import Subject
from schemas.validator import validate_workflow

SMALL, LARGE, TYPICAL = 190, 1900, 200
RUNS = 5
Flow = dict[str, Any]


def measure(line: Line) -> None:
    """All bars of the validator; takes about half a minute."""
    for name, work in {"the rules alone": ruled, "validate": validated, "validate + repair": repaired}.items():
        figure, shape = max((growth(work, build), shape) for shape, build in SHAPES.items())
        line(f"{name}, 10 x the nodes, steepest shape ({shape})", figure, "x", 12)
    for name, work in {"validate": validated, "validate + repair": repaired}.items():
        figure, shape = max((to_a_pass(work, build(TYPICAL)), shape) for shape, build in BY_NODES.items())
        line(f"{name} / one jsonschema pass, {TYPICAL} nodes, dearest shape ({shape})", figure, "x", 5)


def to_a_pass(work: Callable[[Flow], object], flow: Flow) -> float:
    """How many passes of jsonschema over the same workflow it costs."""
    return seconds(work, flow) / seconds(checked, flow)


def growth(work: Callable[[Flow], object], build: Callable[[int], Flow]) -> float:
    """How many times longer ten times the nodes take."""
    return seconds(work, build(LARGE)) / seconds(work, build(SMALL))


def seconds(work: Callable[[Flow], object], flow: Flow) -> float:
    """CPU seconds of one run, the least of some."""
    return min(_once(work, flow) for _ in range(RUNS))


def _once(work: Callable[[Flow], object], flow: Flow) -> float:
    began = time.process_time()
    work(flow)
    return time.process_time() - began


def validated(flow: Flow) -> None:
    """The validator alone."""
    validate_workflow(flow, Catalog.load())


def ruled(flow: Flow) -> None:
    """The validator without its pass of jsonschema, which would hide what the rules cost."""
    subject = Subject.of(flow, Catalog.load(), None)
    for rules in (rules_nodes, rules_edges, rules_templates):
        list(rules.check(subject))


def checked(flow: Flow) -> None:
    """One pass of jsonschema, for comparison."""
    list(checker("workflow").iter_errors(flow))


def repaired(flow: Flow) -> None:
    """The validate step of an edit that changes nothing: read, repair, lay out, judge. The result must be valid."""
    job = Job(
        id=JobId("job_1"), attempt=Attempt(1), prompt="Change nothing", mode="edit", current_workflow=flow,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    step = handler_for("edit").steps[-1]
    assert isinstance(step, CodeStep)
    step.run(job, {"analyze": {}, "generate": {"explanation": "Nothing."}})


def node(number: int, kind: str, **config: Any) -> Flow:
    return {"id": f"n{number}", "type": kind, "config": config}


def flow_of(nodes: list[Flow], edges: list[tuple[int, int] | tuple[int, int, str]]) -> Flow:
    """A workflow of these nodes, with ids and positions; node 0 is a webhook."""
    for number, entry in enumerate(nodes):
        entry["position"] = {"x": 250 + 300 * number, "y": 100}
    return {
        "name": "Flow",
        "summary": "For measuring.",
        "nodes": nodes,
        "edges": [
            {
                "id": f"e{number}",
                "source": f"n{edge[0]}",
                "target": f"n{edge[1]}",
                **({"sourceHandle": edge[2]} if len(edge) > 2 else {}),
            }
            for number, edge in enumerate(edges)
        ],
        "requiredCredentials": [],
    }


def chain(size: int) -> Flow:
    """One step after another, each with a reference."""
    steps = [node(number, "log_output", message="Got {{input.a}} and {{input.b}}") for number in range(1, size)]
    return flow_of([node(0, "webhook", method="POST"), *steps], [(number, number + 1) for number in range(size - 1)])


def fan(size: int) -> Flow:
    """All steps right behind the trigger."""
    steps = [node(number, "log_output", message="{{input.a}}") for number in range(1, size)]
    return flow_of([node(0, "webhook", method="POST"), *steps], [(0, number) for number in range(1, size)])


def switch(size: int) -> Flow:
    """One switch with a case for each step."""
    cases = [f"case{number}" for number in range(2, size)]
    nodes = [node(0, "webhook", method="POST"), node(1, "switch", expression="{{input.kind}}", cases=cases)]
    steps = [node(number, "log_output", message="x") for number in range(2, size)]
    return flow_of([*nodes, *steps], [(0, 1), *((1, number, f"case{number}") for number in range(2, size))])


def tree(size: int) -> Flow:
    """A binary tree of conditions."""
    inner = (size - 2) // 2
    nodes = [
        node(number, "if_else" if number <= inner else "log_output", condition="{{input.a}} > 1", message="x")
        for number in range(1, 2 * inner + 2)
    ]
    edges = [
        edge
        for number in range(1, inner + 1)
        for edge in ((number, 2 * number, "true"), (number, 2 * number + 1, "false"))
    ]
    return flow_of([node(0, "webhook", method="POST"), *nodes], [(0, 1), *edges])


def variables(size: int) -> Flow:
    """A chain in which every step stores a variable and uses the first one."""
    first = node(1, "set_variable", name="v1", value="x")
    steps = [node(number, "set_variable", name=f"v{number}", value="{{variables.v1}}") for number in range(2, size)]
    return flow_of(
        [node(0, "webhook", method="POST"), first, *steps], [(number, number + 1) for number in range(size - 1)]
    )


def form(size: int) -> Flow:
    """One form with a field for each node."""
    fields = [
        {"id": f"f{number}", "label": "Field", "name": f"f{number}", "type": "text", "required": True}
        for number in range(size)
    ]
    texts = {
        "formTitle": "A",
        "formDescription": "B",
        "submitButtonText": "Go",
        "successMessage": "Ok",
        "redirectUrl": "",
    }
    return flow_of([node(0, "form", fields=fields, **texts), node(1, "noop")], [(0, 1)])


def cycles(size: int) -> Flow:
    """A chain in which every edge also leads back."""
    flow = chain(size)
    flow["edges"] = [
        *flow["edges"],
        *({**edge, "source": edge["target"], "target": edge["source"]} for edge in flow["edges"]),
    ]
    return flow


SHAPES: Mapping[str, Callable[[int], Flow]] = {
    "chain": chain,
    "fan": fan,
    "switch": switch,
    "tree": tree,
    "variables": variables,
    "cycles": cycles,
    "form": form,
}
# A large form is two nodes: nothing to measure by nodes.
BY_NODES = {name: build for name, build in SHAPES.items() if name != "form"}


if __name__ == "__main__":
    bars = Bars()
    measure(bars.line)
    sys.exit(1 if bars.short else 0)
