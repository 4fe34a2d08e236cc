"""A request for text: the body of `/api/chat` or `/api/generate`, checked in Ollama's order and with its sentences.

Pure. Called by `devstack.model.server` (parse) and `devstack.model.answers` (what to send to the runner).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from devstack.model.models import TRAINED_CONTEXT
from devstack.model.wire import ApiError, JsonObject, keep_alive, kind

Kind = Literal["chat", "generate"]
# OLLAMA_CONTEXT_LENGTH's default on a machine with little or no VRAM.
DEFAULT_NUM_CTX = 4096
MIN_NUM_CTX = 4
_INTEGERS = {"num_keep": 4, "seed": -1, "num_predict": -1, "top_k": 40, "repeat_last_n": 64}
_FLOATS = {"temperature": 0.8, "top_p": 0.9, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0,
           "presence_penalty": 0.0, "frequency_penalty": 0.0}  # fmt: skip
# Options that belong to the loaded model: another value means another load.
_LAUNCH = ("num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict")
_LLAMA_NAMES = {"num_keep": "n_keep", "num_predict": "n_predict"}
_STOPS = ("<|im_start|>", "<|im_end|>")
_FIELDS: dict[Kind, dict[str, tuple[str, str]]] = {
    "chat": {"model": ("string", "string"), "messages": ("array", "[]api.Message")},
    "generate": {key: ("string", "string") for key in ("model", "prompt", "system")} | {"raw": ("bool", "bool")},
}
_SHARED = {key: ("bool", "bool") for key in ("stream", "truncate", "shift")} | {
    "options": ("object", "map[string]interface {}")
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, as the chat template takes it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Launch:
    """What a model is loaded with; a request with another launch needs a reload."""

    num_ctx: int
    shift: bool
    others: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `/api/chat` or `/api/generate`. `keep_alive` is in seconds, None when not given."""

    kind: Kind
    model: str
    messages: tuple[Message, ...]
    raw: str | None
    stream: bool
    format: Any
    options: JsonObject
    keep_alive: float | None
    truncate: bool
    shift: bool
    wants: frozenset[str]

    @property
    def empty(self) -> bool:
        """Nothing to answer: a preload, or with keep_alive 0 an unload."""
        return not self.messages and not self.raw

    def launch(self) -> Launch:
        """What the model must be loaded with.

        Raises:
            ApiError: 500, an option of the wrong type (a 500 in the real one, too).
        """
        _check_options(self.options)
        num_ctx = int(self.options.get("num_ctx", DEFAULT_NUM_CTX))
        others = tuple(self.options.get(name) for name in (*_LAUNCH, "use_mmap"))
        return Launch(min(max(num_ctx, MIN_NUM_CTX), TRAINED_CONTEXT), self.shift, others)

    def sampling(self, num_ctx: int) -> JsonObject:
        """The body of llama.cpp's `/completion` but for prompt and grammar; unlimited means 10 x `num_ctx`."""
        given = self.options
        body: JsonObject = {name: int(given.get(name, default)) for name, default in _INTEGERS.items()}
        body |= {name: float(given.get(name, default)) for name, default in _FLOATS.items()}
        body["num_predict"] = min(body["num_predict"], 10 * num_ctx) if body["num_predict"] > 0 else 10 * num_ctx
        body["stop"] = given.get("stop", _STOPS)
        return {_LLAMA_NAMES.get(name, name): value for name, value in body.items()}


def parse(which: Kind, body: Any) -> Request:
    """Check the types of a decoded body.

    Raises:
        ApiError: 400 with the decoder's sentence.
    """
    fields = _fields(which, body)
    if not fields.get("model"):
        raise ApiError(400, "model is required")
    return Request(
        kind=which,
        model=fields["model"],
        messages=_chat(fields) if which == "chat" else _prompt(fields),
        raw=fields.get("prompt", "") if fields.get("raw") else None,
        stream=fields.get("stream", True),
        format=None if fields.get("format") == "" else fields.get("format"),
        options={name: value for name, value in fields.get("options", {}).items() if value is not None},
        keep_alive=keep_alive(fields.get("keep_alive")),
        truncate=fields.get("truncate", True),
        shift=fields.get("shift", True),
        wants=frozenset(name for name, key in (("thinking", "think"), ("tools", "tools")) if fields.get(key)),
    )


def _fields(which: Kind, body: Any) -> JsonObject:
    struct = f"{which.capitalize()}Request"
    if not isinstance(body, dict):
        raise ApiError(400, f"json: cannot unmarshal {kind(body)} into Go value of type api.{struct}")
    fields = {key: value for key, value in body.items() if value is not None}
    for key, (wanted, go_type) in (_FIELDS[which] | _SHARED).items():
        if key in fields:
            _expect(fields[key], wanted, f"{struct}.{key}", go_type)
    return fields


def _expect(value: Any, wanted: str, field: str, go_type: str) -> None:
    if kind(value) != wanted:
        raise ApiError(400, f"json: cannot unmarshal {kind(value)} into Go struct field {field} of type {go_type}")


def _chat(fields: JsonObject) -> tuple[Message, ...]:
    return tuple(_message(item) for item in fields.get("messages", ()))


def _message(item: Any) -> Message:
    _expect(item, "object", "ChatRequest.messages", "api.Message")
    for key in ("role", "content"):
        if item.get(key) is not None:
            _expect(item[key], "string", f"Alias.{key}", "string")
    return Message((item.get("role") or "").lower(), item.get("content") or "")


def _prompt(fields: JsonObject) -> tuple[Message, ...]:
    if fields.get("raw") or not fields.get("prompt"):
        return ()
    system = (Message("system", fields["system"]),) if fields.get("system") else ()
    return (*system, Message("user", fields["prompt"]))


def _check_options(options: JsonObject) -> None:
    """Unknown names pass silently, as in the real one; so does a fraction where an integer is meant."""
    wanted = {name: ("number", "integer") for name in (*_INTEGERS, *_LAUNCH, "num_ctx")}
    wanted |= {name: ("number", "float32") for name in _FLOATS}
    wanted |= {"stop": ("array", "array"), "use_mmap": ("bool", "boolean")}
    for name, (json_kind, go_type) in wanted.items():
        if name in options and kind(options[name]) != json_kind:
            raise ApiError(500, f'option "{name}" must be of type {go_type}')
    if any(kind(item) != "string" for item in options.get("stop", ())):
        raise ApiError(500, 'option "stop" must be of an array of strings')
