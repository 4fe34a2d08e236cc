"""The step that changes an existing workflow in edit mode: the model names only what changes, code keeps the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from consumer.job import Job, JsonObject, Phase
from consumer.ports import Done, Message, ModelRequest
from handlers.draft import Draft, Node
from handlers.edit_words import adds, candidates, changes
from handlers.existing import read_existing
from handlers.messages import clipped, described, failures, request, system_text
from handlers.plan import Plan, plan
from handlers.reading import read_object
from handlers.shape import TEXT, asked, config, exits, record, several, step, text
from handlers.stream import NodeReader
from schemas.catalog import Catalog
from schemas.clean import one_line

# A model of 4,096 tokens of context sees so many nodes; the others stay as they are.
MAX_NODES = 40
MAX_ADDED = 2


class Edit:
    """A ModelStep: `{explanation, add?, change?, remove?}` (see prompts/edit.txt)."""

    name = "generate"
    phase = Phase.GENERATE
    band = (30, 90)
    typical_tokens = 120
    model: Literal["analyze", "generate"] = "generate"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def request(self, job: Job, done: Done, attempt: int) -> ModelRequest:
        """Ask for the changes."""
        planned = plan(job, done.get("analyze", {}), self._catalog)
        draft = read_existing(job.current_workflow or {}, self._catalog)
        user = (shown(draft), _offer(planned, self._catalog), failures(job), f"Request:\n{clipped(job.prompt)}")
        messages = (Message("system", system_text("edit")), Message("user", "\n\n".join(filter(None, user))))
        return request(messages, edit_schema(draft, planned, job.prompt), job, attempt, heat=0.2)

    def reader(self) -> NodeReader:
        """Shows the labels of new nodes."""
        return NodeReader()

    def read(self, job: Job, done: Done, text: str) -> JsonObject:
        """The answer as it is; the validate step applies it."""
        return read_object(text)


def shown(draft: Draft) -> str:
    """The existing workflow, one line per node and one for the edges."""
    lines = [_line(draft, node) for node in draft.nodes[:MAX_NODES]]
    edges = ", ".join(
        f"{edge.source}{'.' + edge.handle if edge.handle else ''} -> {edge.target}" for edge in draft.edges
    )
    return "\n".join([f"Workflow: {one_line(draft.name)}", *lines, f"Edges: {one_line(edges, 1200)}"])


def _line(draft: Draft, node: Node) -> str:
    kind = draft.catalog.get(node.type)
    hidden = {field.name for field in kind.fields if field.credential} if kind else set()
    config = {name: value for name, value in node.config.items() if name not in hidden}
    return f"- {one_line(node.id)} ({node.type}) {one_line(node.label)} {one_line(json.dumps(config), 160)}"


def edit_schema(draft: Draft, planned: Plan, prompt: str) -> JsonObject:
    """The schema of the changes; only the kinds of change that the words of the prompt speak of."""
    nodes = draft.nodes[:MAX_NODES]
    parts: JsonObject = {"explanation": text(2 * TEXT)}
    changeable = [node for node in nodes if _fields(draft, node, planned)]
    shown_ids = {node.id for node in nodes}
    removable = [node.id for node in candidates(draft, prompt) if node.id in shown_ids]
    if changeable and (changes(prompt) or not adds(prompt)):
        options = [_change(draft, node, planned) for node in changeable]
        parts["change"] = several({"anyOf": options} if len(options) > 1 else options[0], 1, 2)
    if adds(prompt) or len(parts) == 1:
        parts["add"] = _additions(draft, nodes, planned)
    if removable:
        parts["remove"] = several({"enum": removable}, 1, 2)
    return record(parts)


def _fields(draft: Draft, node: Node, planned: Plan) -> JsonObject:
    kind = draft.catalog.get(node.type)
    if kind is None:
        return {}
    schema = config(kind, planned.facts)["properties"] if asked(kind, planned.facts) else {}
    return {name: part for name, part in schema.items() if kind.name != "form"}


def _change(draft: Draft, node: Node, planned: Plan) -> JsonObject:
    return record({"id": {"const": node.id}, "config": record(_fields(draft, node, planned), ())})


def _additions(draft: Draft, nodes: Sequence[Node], planned: Plan) -> JsonObject:
    after = [way for node in nodes for way in exits(node.id, [node.type])] or ["trigger"]
    present = {node.type for node in nodes}
    wanted = tuple(name for name in planned.named if name not in present)[:MAX_ADDED]
    added: JsonObject = {}
    for number, name in enumerate(wanted or (None,), start=1):
        types = [name] if name else planned.offered
        options = [step(draft.catalog[kind], planned.facts, after) for kind in types]
        added[f"n{number}"] = options[0] if len(options) == 1 else {"anyOf": options}
        after = [*after, *exits(f"n{number}", types)]
    return record(added)


def _offer(planned: Plan, catalog: Catalog) -> str:
    return "Types for new nodes:\n" + described((catalog[name] for name in planned.offered), planned.facts)
