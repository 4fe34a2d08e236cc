"""The prompts of an evaluation: a file with one JSON object per line, checked before anything runs.

Labels say what a reader would expect: the trigger, and node types that must be there. `a|b` allows either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.errors import InputInvalid, SetupError
from consumer.job import JOB_ID_PATTERN, Attempt, Job, JobId, JsonObject
from handlers.analyze import check_input
from schemas.catalog import Catalog
from schemas.clean import storable

# So many findings are told at once.
MAX_TOLD = 20
# Where a row of the table begins (sql_migrations/13).
DEFAULT_RETRIES = 3
_HINTS = {
    "id": "Use 1 to 64 characters of A-Z a-z 0-9 _ -, each id once.",
    "mode": 'Write "create" or "edit".',
    "missing": "Add it.",
    "extra_forbidden": "Remove it, or correct its name.",
}


class UnusableFile(SetupError):
    """A file of prompts, or of saved figures, that is not what it should be; one line per finding."""

    exit_code: ClassVar[int] = 65


class NoSuchFile(SetupError):
    """A file that cannot be read."""

    exit_code: ClassVar[int] = 66


class Case(BaseModel):
    """One prompt, what comes with it, and its labels (None or empty where a reader could not be sure)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]
    prompt: str
    mode: Literal["create", "edit"] = "create"
    config: JsonObject | None = None
    current_workflow: JsonObject | None = None
    execution_history: list[JsonObject] | None = None
    trigger: str | None = None
    nodes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def job(self, max_retries: int | None = None) -> Job:
        """The job as its first attempt sees it. Its id, and with it every seed, is that of the prompt."""
        given = self.model_dump(include={"prompt", "mode", "config", "current_workflow", "execution_history"})
        retries = DEFAULT_RETRIES if max_retries is None else max_retries
        return Job(id=JobId(self.id), attempt=Attempt(1), max_retries=retries, created_at=datetime.now(UTC), **given)


def either(label: str) -> frozenset[str]:
    """The node types that a label allows."""
    return frozenset(label.split("|"))


def read_cases(text: str, name: str, catalog: Catalog) -> list[Case]:
    """The prompts of a file, in its order; blank lines are passed over. `name` is how messages call the file.

    Raises:
        UnusableFile: names line, field, reason and the way out.
    """
    cases: dict[str, Case] = {}
    faults: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            faults.extend(f"{name}:{number}: {fault}" for fault in _take(line, cases, catalog))
    if not cases and not faults:
        faults = [f"{name}: holds no prompt. Write one JSON object per line with id and prompt."]
    if faults:
        raise UnusableFile("\n".join(faults[:MAX_TOLD]))
    return list(cases.values())


def _take(line: str, cases: dict[str, Case], catalog: Catalog) -> list[str]:
    """Add the line's prompt; returns what is wrong with it."""
    try:
        case = Case.model_validate(_object(line))
    except ValidationError as error:
        return [_sentence(dict(item)) for item in error.errors()]
    except (ValueError, RecursionError) as error:
        return [f"is not a JSON object ({error}). Write one object per line."]
    if case.id in cases:
        return [f"id: {case.id!r} is there twice. {_HINTS['id']}"]
    cases[case.id] = case
    return [*_input_faults(case), *_label_faults(case, catalog)]


def _object(line: str) -> JsonObject:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}")
    if not storable(value):
        raise ValueError("it holds NUL, half characters, NaN, or more than 24 levels, which no row can")
    return value


def _input_faults(case: Case) -> Iterable[str]:
    try:
        check_input(case.job())
    except InputInvalid as error:
        yield str(error)


def _label_faults(case: Case, catalog: Catalog) -> Iterable[str]:
    if case.trigger is not None:
        triggers = [node.name for node in catalog if node.trigger]
        for kind in sorted(either(case.trigger) - set(triggers)):
            yield f"trigger: there is no trigger {kind!r}. Take one of {', '.join(triggers)}."
    for label in case.nodes:
        for kind in sorted(either(label)):
            if kind not in catalog:
                yield f"nodes: there is no node type {kind!r}. See schemas/catalog.json."


def _sentence(item: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in item["loc"])
    top = str(item["loc"][0])
    hint = _HINTS.get(str(item["type"])) or _HINTS.get(top) or "Correct it."
    return f"{field}: {item['msg']}. {hint}"
