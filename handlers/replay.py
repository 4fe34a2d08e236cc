"""Runs today's validator and repair on what a job has stored, without a model, and says what has become different.

Called by `consumer replay`. Pure; a job's `checkpoint` holds its steps' answers (design rule 10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from consumer.errors import InternalError, Violation, WorkflowInvalid
from consumer.job import Job, JsonObject
from consumer.ports import CodeStep, Done
from handlers.registry import handler_for
from schemas.catalog import Catalog

ABSENT = None
_TEXTS = ("name", "summary", "explanation")


class Change(NamedTuple):
    """One difference. `what`: `workflow`, or the node, edge or credential; `field`: what of it, empty for all of it.

    `before` and `after` are JSON values, null where there is none; `type` is the node's type, else empty.
    """

    kind: Literal["added", "removed", "changed"]
    what: str
    field: str
    before: object
    after: object
    type: str = ""

    def as_json(self) -> JsonObject:
        """The change as an object."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class Replay:
    """What today's code makes of a job. `source`: the model's answers, or only the stored workflow when they are gone.

    `workflow` is None when rules are broken; `violations` then says which. `repairs`: `{code, pointer, message}`.
    """

    source: Literal["answers", "workflow"]
    workflow: JsonObject | None
    repairs: tuple[JsonObject, ...]
    violations: tuple[Violation, ...]


def replay(job: Job, stored: JsonObject | None, catalog: Catalog) -> Replay | None:
    """Run the code steps on the stored answers, else on the stored workflow; None when the job has neither."""
    answers: Done = {name: done.value for name, done in (job.checkpoint or {}).items() if done is not None}
    if "generate" in answers:
        return _run("answers", job, answers, catalog)
    if stored is None:
        return None
    # An edit that changes nothing: the workflow is read, repaired and judged as it stands.
    unchanged = job.model_copy(update={"mode": "edit", "current_workflow": stored})
    found = _run("workflow", unchanged, {"generate": {}}, catalog)
    if found.workflow is not None:
        found.workflow.pop("explanation", None)
        found.workflow.update({name: stored[name] for name in ("explanation", "viewport") if name in stored})
    return found


def _run(source: Literal["answers", "workflow"], job: Job, answers: Done, catalog: Catalog) -> Replay:
    handler, done = handler_for(job.mode, catalog), dict(answers)
    try:
        for step in handler.steps:
            if isinstance(step, CodeStep):
                done[step.name] = step.run(job, done)
    except WorkflowInvalid as invalid:
        return Replay(source, None, (), invalid.violations)
    if "validate" not in done:
        raise InternalError("the handler has no validate step")
    return Replay(source, handler.result(done), tuple(done["validate"]["repairs"]), ())


def differences(before: JsonObject, after: JsonObject) -> list[Change]:
    """What is different in `after`: texts, nodes by id, edges by their way, credentials; the order does not count."""
    return [
        *_fields("workflow", {name: before.get(name) for name in _TEXTS}, {name: after.get(name) for name in _TEXTS}),
        *_entries(_nodes(before), _nodes(after), lambda name: f"node {name}"),
        *_entries(_edges(before), _edges(after), lambda way: f"edge {way}"),
        *_entries(_required(before), _required(after), lambda name: f"required credential {name}"),
    ]


def _entries(
    before: Mapping[str, JsonObject], after: Mapping[str, JsonObject], named: Callable[[str], str]
) -> Iterator[Change]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old is None and new is not None:
            yield Change("added", named(key), "", ABSENT, new, _type(new))
        elif new is None and old is not None:
            yield Change("removed", named(key), "", old, ABSENT, _type(old))
        elif old is not None and new is not None:
            yield from _fields(named(key), _flat(old), _flat(new), _type(new))


def _fields(what: str, before: JsonObject, after: JsonObject, type_: str = "") -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old != new or (name in before) != (name in after):
            kind: Literal["added", "removed", "changed"] = (
                "added" if name not in before else "removed" if name not in after else "changed"
            )
            yield Change(kind, what, name, old, new, type_)


def _flat(entry: JsonObject) -> JsonObject:
    """The entry's fields, those of its config as `config.name`."""
    config = {f"config.{name}": value for name, value in entry.get("config", {}).items()}
    return {**{name: value for name, value in entry.items() if name != "config"}, **config}


def _type(entry: JsonObject) -> str:
    return str(entry.get("type", ""))


def _nodes(workflow: JsonObject) -> dict[str, JsonObject]:
    return {node["id"]: node for node in workflow["nodes"]}


def _edges(workflow: JsonObject) -> dict[str, JsonObject]:
    """Edges by their way; parallel ones are numbered."""
    found: dict[str, JsonObject] = {}
    seen: Counter[str] = Counter()
    for edge in workflow["edges"]:
        branch = f" ({edge['sourceHandle']})" if edge.get("sourceHandle") else ""
        way = f"{edge['source']}{branch} -> {edge['target']}"
        seen[way] += 1
        found[way if seen[way] == 1 else f"{way} #{seen[way]}"] = {"id": edge["id"]}
    return found


def _required(workflow: JsonObject) -> dict[str, JsonObject]:
    return {f"{entry['node']}.{entry['field']}": {} for entry in workflow["requiredCredentials"]}
