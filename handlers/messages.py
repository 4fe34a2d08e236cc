"""Builds the messages of a request: static text first, so that the prefix cache hits; the job's own text last."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from consumer.job import Job, JsonObject
from consumer.ports import Message, ModelRequest
from handlers.facts import Facts
from handlers.shape import asked, most_chars, worst_tokens
from schemas.catalog import NodeType
from schemas.clean import clean_text

# About 1,500 tokens, of English and of denser scripts: with system text and answer they fit num_ctx 4096.
MAX_PROMPT, MAX_DENSE_PROMPT = 6_000, 700
_FAILED_RUNS = 2


@cache
def system_text(name: Literal["analyze", "analyze_example", "generate", "generate_example", "edit"]) -> str:
    """The static part of the system message."""
    return files(__package__).joinpath("prompts", f"{name}.txt").read_text("utf-8").strip()


@cache
def worked_example(name: Literal["analyze", "generate"]) -> tuple[Message, ...]:
    """The rules and one worked example; the same for every job, so that the prefix cache hits."""
    question, answer = system_text(f"{name}_example").split("\n---\n")
    return Message("system", system_text(name)), Message("user", question), Message("assistant", answer)


def clipped(prompt: str) -> str:
    """The prompt as the model sees it: cleaned, and without its middle when it is too long for the context."""
    text = clean_text(prompt).strip()
    limit = MAX_DENSE_PROMPT if dense(text) else MAX_PROMPT
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - tail]}\n[…]\n{text[-tail:]}"


def dense(text: str) -> bool:
    """Whether a tenth or more is in a script that small tokenizers cut into bytes."""
    return sum(char > "\u02ff" for char in text) * 10 > len(text)


def described(nodes: Iterable[NodeType], facts: Facts) -> str:
    """One line per type on offer: what it does and what its config holds."""
    lines = []
    for node in nodes:
        fields = ", ".join(field.name for field in asked(node, facts))
        lines.append(f"- {node.name}: {node.purpose}" + (f" [{fields}]" if fields else ""))
    return "\n".join(lines)


def failures(job: Job) -> str:
    """What earlier runs of the workflow died of, newest last."""
    runs = [run for run in job.execution_history or [] if run.get("error")][-_FAILED_RUNS:]
    lines = [f"- {clean_text(str(run['error']), 200)}" for run in runs]
    return "\n".join(["Earlier runs failed with:", *lines]) if lines else ""


def request(messages: Sequence[Message], schema: JsonObject, job: Job, attempt: int, heat: float) -> ModelRequest:
    """A request bounded by its own schema; each attempt gets another seed and a bit more temperature."""
    costly = dense(job.prompt)
    return ModelRequest(
        messages=tuple(messages),
        schema=schema,
        max_tokens=worst_tokens(schema, costly),
        temperature=min(1.0, round(heat + 0.2 * attempt, 2)),
        seed=(zlib.crc32(job.id.encode()) + 7919 * attempt) % 2**31,
        max_chars=most_chars(schema, costly),
    )
