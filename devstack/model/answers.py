"""Answers: from a request and a loaded model to the JSON objects that go over the wire.

Called by `devstack.model.server`. Owns the chat template, what happens to a prompt that is too long, the repeat guard,
and the shapes of chunks, of the final chunk and of load/unload replies: the "rendered path" of traces/ollama.md.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from devstack.model.grammar import ANY_JSON, SchemaError, grammar_of
from devstack.model.requests import Message, Request
from devstack.model.runner import End, Piece, Runner
from devstack.model.wire import ApiError, JsonObject, timestamp

# A delta may follow itself this many times before the real server gives up, silently (facts/ollama.md §1.5).
REPEAT_LIMIT = 30
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
    "context length in settings, or use a model with a longer context length"
)
Prompt = str | list[int]
Items = AsyncGenerator[Piece | End, None]
Chunks = AsyncGenerator[JsonObject, None]


@dataclass(frozen=True, slots=True)
class Clock:
    """When the request came and when it got its model (queue, eviction and load lie between), as `perf_counter_ns`."""

    asked: int
    loaded: int

    def durations(self, end: End) -> JsonObject:
        """The figures of the final chunk; zeros are left out, as in the real one."""
        figures = {
            "total_duration": time.perf_counter_ns() - self.asked, "load_duration": self.loaded - self.asked,
            "prompt_eval_count": end.prompt_count, "prompt_eval_duration": end.prompt_ns,
            "eval_count": end.count, "eval_duration": end.ns,
        }  # fmt: skip
        return {name: figure for name, figure in figures.items() if figure}


def chunk(request: Request, text: str, done: bool = False, **more: Any) -> JsonObject:
    """One object of an answer, keys in the order of the wire."""
    content = {"message": {"role": "assistant", "content": text}} if request.kind == "chat" else {"response": text}
    return {"model": request.model, "created_at": timestamp(), **content, "done": done, **more}


def no_answer(request: Request, reason: str) -> JsonObject:
    """The one reply to a preload (`load`) or an unload (`unload`): no figures."""
    return chunk(request, "", True, done_reason=reason)


async def answer(request: Request, runner: Runner, clock: Clock) -> Chunks:
    """The chunks of an answer, the final one last; without a final one when the model repeats itself endlessly.

    Raises:
        ApiError: before the first chunk or after any.
    """
    body = request.sampling(runner.launch.num_ctx) | _constraint(request.format)
    prompt, items = await _begin(request, runner, body)
    text, last, repeats = "", "", 0
    async with contextlib.aclosing(items):
        async for item in items:
            text += item.text
            if isinstance(item, End):
                context = await _context(request, runner, prompt, text)
                yield chunk(request, item.text, True, done_reason=item.reason, **context, **clock.durations(item))
                return
            repeats = repeats + 1 if item.text.strip() == last else 0
            last = item.text.strip()
            if repeats > REPEAT_LIMIT:
                return
            if item.text:
                yield chunk(request, item.text)


async def whole(request: Request, chunks: AsyncIterator[JsonObject]) -> JsonObject:
    """All chunks as the one object of `stream: false`; `done` is false when the final one is missing."""
    text, final = "", {}
    async for part in chunks:
        text += part["message"]["content"] if request.kind == "chat" else part["response"]
        final = {key: value for key, value in part.items() if key not in ("model", "created_at", "message", "response")}
    return chunk(request, text) | final


def _constraint(wanted: Any) -> JsonObject:
    """The grammar that `format` asks for."""
    if wanted is None:
        return {}
    if wanted == "json":
        return {"grammar": ANY_JSON}
    if not isinstance(wanted, dict):
        quoted = json.dumps(json.dumps(wanted, ensure_ascii=False, separators=(",", ":")), ensure_ascii=False)
        message = f'invalid format: {quoted}; expected "json" or a valid JSON Schema object'
        raise ApiError(500, message, relayed=True)
    try:
        return {"grammar": grammar_of(wanted)}
    except (SchemaError, RecursionError) as error:
        raise _bad_schema(str(error)) from None


def _bad_schema(reason: str) -> ApiError:
    message = f"Field 'json_schema': \"json_schema\": JSON schema conversion failed:\n{reason}"
    error = {"code": 400, "message": message, "type": "invalid_request_error"}
    return ApiError(400, json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")), relayed=True)


def render(messages: Sequence[Message]) -> str:
    """The prompt text: ChatML, which the model was trained on."""
    turns = "".join(f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n" for message in messages)
    return f"{turns}<|im_start|>assistant\n"


async def _begin(request: Request, runner: Runner, body: JsonObject) -> tuple[Prompt, Items]:
    """Start the generation, with a shortened prompt when the whole does not fit and may be shortened."""
    prompt: Prompt = render(request.messages) if request.raw is None else request.raw
    try:
        return prompt, await _started(runner.complete(body | {"prompt": prompt}))
    except ApiError as error:
        if not request.truncate or "exceed_context_size_error" not in str(error):
            raise
    prompt = await _shortened(request, runner, body["n_keep"])
    return prompt, await _started(runner.complete(body | {"prompt": prompt}))


async def _started(items: Items) -> Items:
    """Wait for the first item, so that a refusal shows before anything is answered."""
    first = await anext(items)

    async def rest() -> Items:
        async with contextlib.aclosing(items):
            yield first
            async for item in items:
                yield item

    return rest()


async def _shortened(request: Request, runner: Runner, keep: int) -> Prompt:
    """Drop the oldest turns but the system's; if the last one alone is too long, keep its end (258 of 512 tokens)."""
    num_ctx = runner.launch.num_ctx
    system = [message for message in request.messages if message.role == "system"]
    turns = [message for message in request.messages if message.role != "system"]
    tokens: list[int] = []
    for first in range(max(len(turns), 1)):
        text = render([*system, *turns[first:]]) if request.raw is None else request.raw
        tokens = await runner.tokenize(text)
        if len(tokens) < num_ctx:
            return text
    if not runner.launch.shift:
        raise ApiError(400, TOO_LONG, relayed=True)
    keep = max(0, min(keep, num_ctx // 2))
    return tokens[:keep] + tokens[keep - (num_ctx // 2 + 2) :]


async def _context(request: Request, runner: Runner, prompt: Prompt, text: str) -> JsonObject:
    """The deprecated `context` of `/api/generate`: all tokens so far."""
    if request.kind == "chat" or request.raw is not None:
        return {}
    before = prompt if isinstance(prompt, list) else await runner.tokenize(prompt)
    return {"context": before + (await runner.tokenize(text))}
