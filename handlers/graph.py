"""Draws a workflow as plain text for a terminal. Labels are hostile text: cleaned, cut. Called by demo and `show`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from consumer.job import JsonObject
from schemas.clean import one_line

Ways = dict[str, list[tuple[str | None, str]]]
# The lines to write below a node.
Details = Callable[[JsonObject], list[str]]


def draw(workflow: JsonObject) -> str:
    """The name, and below it the `tree`."""
    return "\n".join([one_line(str(workflow.get("name", "")), 80), *tree(workflow)])


def tree(workflow: JsonObject, details: Details = lambda node: []) -> Iterator[str]:
    """A tree from each trigger down, one node a line; a node met again is only named. Wants a sound shape."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    ways: Ways = {name: [] for name in nodes}
    targets = set()
    for edge in workflow["edges"]:
        if edge["source"] in nodes and edge["target"] in nodes:
            ways[edge["source"]].append((edge.get("sourceHandle"), edge["target"]))
            targets.add(edge["target"])
    roots = [name for name in nodes if name not in targets]
    return _lines(nodes, ways, roots, details)


def _lines(nodes: dict[str, JsonObject], ways: Ways, roots: list[str], details: Details) -> Iterator[str]:
    seen: set[str] = set()
    for root in (*roots, *nodes):
        if root in seen:
            continue
        # (node, branch, prefix of its line, prefix of the lines below); a stack, since depth is the model's choice.
        stack: list[tuple[str, str | None, str, str]] = [(root, None, "", "")]
        while stack:
            name, branch, head, rest = stack.pop()
            again = name in seen
            yield f"{head}{_branch(branch)}{_shown(nodes[name])}{' (see above)' if again else ''}"
            if not again:
                seen.add(name)
                margin = f"{rest}{'│' if len(ways[name]) > 1 else ' '}    "
                yield from (f"{margin}{line}" for line in details(nodes[name]))
                stack.extend(reversed(_below(ways[name], rest)))


def _below(ways: list[tuple[str | None, str]], rest: str) -> list[tuple[str, str | None, str, str]]:
    """A single way goes straight down; several fan out."""
    if len(ways) == 1:
        return [(ways[0][1], ways[0][0], f"{rest}↓ ", rest)]
    last = len(ways) - 1
    return [
        (name, branch, f"{rest}{'└─ ' if index == last else '├─ '}", f"{rest}{'   ' if index == last else '│  '}")
        for index, (branch, name) in enumerate(ways)
    ]


def _branch(branch: str | None) -> str:
    return f"{one_line(branch, 24)}: " if branch else ""


def _shown(node: JsonObject) -> str:
    label, kind = one_line(str(node.get("label") or node["id"])), one_line(str(node["type"]), 40)
    return f"{label} [{kind}]"
