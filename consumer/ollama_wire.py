"""Ollama's wire: lines out of bytes, objects out of lines, errors out of what a server says.

Pure: no I/O, no httpx. Called by `consumer.ollama` and `consumer.ollama_reply`. Numbers and texts are those of
traces/ollama.md ("fact", recorded from 0.24.0 and 0.33.0-rc2) and facts/ollama.md ("§").
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from dataclasses import dataclass

from consumer.errors import (
    JobError,
    ModelNotFound,
    ModelOutOfMemory,
    ModelOverloaded,
    ModelStalledLoop,
    ModelUnavailable,
    OutputNotJson,
    PromptTooLong,
    RequestRefused,
)
from consumer.job import JsonObject

# The longest line seen is 8.9 kB (traces, "Numbers"); /api/tags of a thousand models is 0.5 MB.
MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_ERROR_CHARS = 300


class LineSplitter:
    """Cuts a byte stream into lines at `\\n` only: a raw U+0085 or U+2028 inside a line is text (fact 8)."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their `\\n`. Linear in `data`, however it is cut.

        Raises:
            ModelUnavailable: a line passed the limit; this is not Ollama.
        """
        longest = len(self._rest) + len(data)
        *lines, rest = data.split(b"\n")
        if self._rest and lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest = bytearray()
        self._rest += rest
        # Each line is looked at only where one can be too long, which is next to never.
        if longest > self._limit and max(map(len, (*lines, self._rest))) > self._limit:
            raise ModelUnavailable(f"the model server is no Ollama: it sent a line of more than {self._limit} bytes")
        return lines

    def end(self) -> list[bytes]:
        """The last line, which plain JSON replies leave without a `\\n` (fact 1)."""
        line, self._rest = bytes(self._rest), bytearray()
        return [line] if line.strip() else []


def parse(line: bytes) -> JsonObject:
    """One line, or one plain body, as a JSON object.

    Raises:
        ModelUnavailable: it is none, so what answers is not Ollama. The text itself may be a user's and is not quoted.
    """
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelUnavailable(f"the model server is no Ollama: it sent {len(line)} bytes that are no JSON object")
    return value


def canonical(model: str) -> str:
    """One spelling per model: `Mistral` is `registry.ollama.ai/library/mistral:latest` (fact 15)."""
    name = model.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def entries(reply: JsonObject) -> list[tuple[str, JsonObject]]:
    """The models that /api/tags or /api/ps lists, by canonical name."""
    models = reply.get("models")
    listed = [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []
    return [(canonical(str(entry.get("name", ""))), entry) for entry in listed]


def keep_alive(value: str | int) -> str | int:
    """Numbers as numbers: Ollama refuses the text "-1" (fact 14)."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) else value


def error_text(reply: bytes | JsonObject) -> str:
    """What went wrong: `error` of a JSON object, itself perhaps JSON (fact 12); any other body as it is."""
    if isinstance(reply, dict):
        return _innermost(reply)
    try:
        return _innermost(json.loads(reply.decode(errors="replace")))
    except (ValueError, RecursionError):
        return clip(reply[: 4 * MAX_ERROR_CHARS].decode(errors="replace"))


def _innermost(value: object) -> str:
    """`{"error": "{\\"error\\": {\\"message\\": …}}"}` → the message, with its `type` where there is one."""
    for _ in range(6):
        if isinstance(value, dict):
            value = value.get("error", value.get("message", ""))
        elif isinstance(value, str) and value.startswith("{"):
            value = _loads_or_text(value)
    return clip(value if isinstance(value, str) else "")


def _loads_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.lstrip("{")


def clip(text: str) -> str:
    """Text of the server made fit for a log line: one line, printable, at most `MAX_ERROR_CHARS` characters."""
    line = " ".join(text[: 4 * MAX_ERROR_CHARS].split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= MAX_ERROR_CHARS else line[: MAX_ERROR_CHARS - 1] + "…"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: replies with one of these statuses whose text matches become `error`."""

    statuses: Container[int]
    text: re.Pattern[str]
    error: type[JobError]
    advice: str = ""


def _rule(statuses: Container[int], text: str, error: type[JobError], advice: str = "") -> Rule:
    return Rule(statuses, re.compile(text, re.IGNORECASE), error, advice)


_ANY = range(600)
_PULL = "run: ollama pull {model}"
_BUG = "the request is wrong, the same one will fail again"

# The first row that matches decides. Status 200 is an error line inside a stream.
RULES = (
    # 0.33 `exceed_context_size_error`; 0.24 `input length`; 0.33 shift:false alone `prompt is longer` (fact 13).
    _rule(_ANY, r"exceeds the (available )?context|prompt is longer than|exceeded max context", PromptTooLong),
    # Not recorded (no GPU there): texts of llama.cpp and of Ollama's scheduler (facts §3, ollama#9782).
    _rule(
        _ANY,
        r"out of memory|requires more system memory|failed to allocate|unable to allocate|cannot be allocated"
        r"|not enough memory|insufficient memory|cudaMalloc failed|OutOfDeviceMemory",
        ModelOutOfMemory,
        "lower OLLAMA_NUM_CTX or use a smaller model",
    ),
    # Both: `model 'x' not found`; 0.33 without its blob `model "x" not found, try pulling it first` (fact 16).
    _rule({404}, r"model .*not found", ModelNotFound, _PULL),
    # 0.24 without its blob (fact 16); a name that no model can have.
    _rule({400}, r"does not support (chat|generate|completion)|invalid model name", ModelNotFound, _PULL),
    # A truncated blob (fact 16): only another pull helps.
    _rule({500}, r"exceeds file size|invalid file magic", ModelNotFound, _PULL),
    _rule({503}, r"server busy|maximum pending requests", ModelOverloaded),
    _rule({429}, r"", ModelOverloaded),
    # 0.34.1 and later say what earlier ones leave unsaid by an early end (facts §1.5).
    _rule(_ANY, r"token repeat limit reached", ModelStalledLoop),
    # 0.33 native path, inside a stream: the model broke out of its own format (fact 10).
    _rule({200, 500}, r"does not match the expected .*format", OutputNotJson),
    # Request bugs that come as 500 (differences, §1.3): option types, `format`, 0.24's schema errors.
    _rule({500}, r"must be of type|invalid format:|invalid JSON schema", RequestRefused, _BUG),
    # Every other 400: grammar and schema errors of 0.33, JSON and option errors, think, tools, keep_alive.
    _rule({400, 422}, r"", RequestRefused, _BUG),
    # Crashed, killed, gone (facts 2, 3): the runner is respawned on the next request.
    _rule(
        {200, 500},
        r"unexpected EOF|has terminated|no longer running|unexpectedly stopped|timed out waiting for",
        ModelUnavailable,
    ),
    _rule({401, 403}, r"", ModelUnavailable, "it refuses this client: check OLLAMA_LOCAL_URL and its host name"),
    _rule({301, 302, 307, 308, 404, 405}, r"", ModelUnavailable, "this is no Ollama: check OLLAMA_LOCAL_URL"),
    # 499, 502, 504, unknown 500 and unknown error lines: not this request's fault as far as can be told.
    _rule(_ANY, r"", ModelUnavailable),
)


def classify(status: int, text: str, model: str) -> JobError:
    """The error that a reply of `status` with this error text means for a call of `model`."""
    rule = next(rule for rule in RULES if status in rule.statuses and rule.text.search(text))
    where = "in its answer" if status == 200 else f"HTTP {status}"
    advice = f"; {rule.advice.format(model=model)}" if rule.advice else ""
    return rule.error(f"the model server said of {model!r} ({where}): {text or 'nothing'}{advice}")
