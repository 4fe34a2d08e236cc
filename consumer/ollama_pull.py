"""The lines of a pull, piece by piece: progress out of bytes, or the failure.

Pure: no I/O, no httpx. `consumer.ollama` feeds it. Pull was not recorded: its lines are those of facts/ollama.md §1.1
and of Ollama's source (server/images.go, server/download.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from consumer.errors import JobError, ModelNotFound, ModelUnavailable
from consumer.job import JsonObject
from consumer.ollama_wire import LineSplitter, clip, error_text, parse

# While it downloads the server writes every 60 ms, also when nothing comes in (download.go, Wait).
SILENCE_SECONDS = 60.0
# While it verifies it writes nothing: gigabytes are hashed, perhaps from a slow disk.
VERIFY_SECONDS = 600.0
VERIFYING = "verifying sha256 digest"
# A registry without the model says it `file does not exist` (§1.1).
_UNKNOWN = re.compile(r"file does not exist|invalid model name|model .*not found")


@dataclass(frozen=True, slots=True)
class PullProgress:
    """What the server does just now, in its own words; bytes of all the layers it has named so far."""

    status: str
    completed: int
    total: int


class PullReply:
    """Reads the stream of one pull. `feed` it bytes as they come; empty bytes are the end of the stream."""

    def __init__(self, model: str) -> None:
        self.complete = False
        self._model = model
        self._lines = LineSplitter()
        self._layers: dict[str, tuple[int, int]] = {}
        self._status = ""

    @property
    def verifying(self) -> bool:
        """Whether the server hashes what it has fetched, in silence."""
        return self._status == VERIFYING

    def feed(self, data: bytes) -> Iterator[PullProgress]:
        """What `data` completes; with the server's `success`, `complete` is true.

        Raises:
            JobError: the server reports an error, or the stream ends early.
        """
        for line in self._lines.feed(data) if data else self._lines.end():
            if line and not self.complete:
                yield self._take(parse(line))
        if not data and not self.complete:
            raise ModelUnavailable(
                f"the pull of {self._model!r} broke off without a reason ({self._status or 'begun'})"
            )

    def _take(self, line: JsonObject) -> PullProgress:
        if "error" in line:
            raise refusal(error_text(line), self._model)
        self._status = clip(str(line.get("status", "")))
        self.complete = self._status == "success"
        if digest := line.get("digest"):
            self._layers[str(digest)] = (_bytes(line, "completed"), _bytes(line, "total"))
        layers = self._layers.values()
        return PullProgress(self._status, sum(done for done, _ in layers), sum(total for _, total in layers))


def refusal(text: str, model: str) -> JobError:
    """The error that an error line of a pull means: a model that does not exist, or a pull to be tried again."""
    if _UNKNOWN.search(text):
        return ModelNotFound(f"the registry has no model {model!r}: {text}")
    return ModelUnavailable(f"the pull of {model!r} failed: {text or 'for no reason given'}")


def _bytes(line: JsonObject, key: str) -> int:
    value = line.get(key)
    return value if type(value) is int and value > 0 else 0
