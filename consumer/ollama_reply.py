"""One streamed answer of Ollama, piece by piece: deltas out of bytes, the answer with its figures, or the failure.

Pure: no I/O, no httpx. `consumer.ollama` feeds it; callers see its values through there. "fact" is traces/ollama.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter

from consumer.errors import InternalError, JobError, ModelStalledLoop, ModelUnavailable, OutputNotJson, OutputTruncated
from consumer.job import JsonObject
from consumer.ollama_wire import LineSplitter, classify, error_text, parse
from consumer.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What one call cost. Times in milliseconds. «chunk» is a counter of the final chunk, 0 where it is left out.

    - `model`: the name that was asked for.
    - `model_load_time_ms`: chunk `load_duration` (the server's queue, eviction and load) plus the driver's own clock
      around the preload that went before this call: preload replies hold no durations (fact 1).
    - `queue_time_ms`: the wait for the model's slot, in no field of the server (fact 7): chunk `total_duration` less
      its three parts.
    - `prompt_time_ms`, `inference_time_ms`: chunk `prompt_eval_duration`, `eval_duration`.
    - `time_to_first_token_ms`: the driver's clock, from sending the request to the first text; without the preload.
    - `total_time_ms`: chunk `total_duration` plus the preload.
    - `input_tokens`, `output_tokens`: chunk `prompt_eval_count`, `eval_count`.
    - `tokens_per_second`: `eval_count / eval_duration`; None when either is 0.
    - `prompt_truncation_suspected`: the server seems to have cut the prompt (consumer/budget.py).
    """

    model: str
    model_load_time_ms: float
    queue_time_ms: float
    prompt_time_ms: float
    inference_time_ms: float
    time_to_first_token_ms: float
    total_time_ms: float
    input_tokens: int
    output_tokens: int
    tokens_per_second: float | None
    prompt_truncation_suspected: bool = False

    @classmethod
    def of(
        cls, model: str, chunk: JsonObject, *, preload_ms: float, first_token_ms: float, prompt_cut: bool = False
    ) -> Figures:
        """The figures of a final chunk; what it leaves out, or states as anything but a count, is 0."""
        total, load, prompt, inference = (
            _count(chunk, key) / 1e6
            for key in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
        )
        tokens = _count(chunk, "eval_count")
        return cls(
            model=model,
            model_load_time_ms=load + preload_ms,
            queue_time_ms=max(0.0, total - load - prompt - inference),
            prompt_time_ms=prompt,
            inference_time_ms=inference,
            time_to_first_token_ms=first_token_ms,
            total_time_ms=total + preload_ms,
            input_tokens=_count(chunk, "prompt_eval_count"),
            output_tokens=tokens,
            tokens_per_second=tokens / inference * 1000 if tokens and inference else None,
            prompt_truncation_suspected=prompt_cut,
        )

    def as_json(self) -> JsonObject:
        """As stored in a checkpoint and in `observability`; times to the microsecond, a suspicion only if true."""
        figures = {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(self).items()}
        if not self.prompt_truncation_suspected:
            del figures["prompt_truncation_suspected"]
        return figures


@dataclass(frozen=True, slots=True)
class Answer:
    """The complete answer: all deltas and the text of the final chunk, and its `done_reason`, usually `stop`."""

    text: str
    figures: Figures
    finish_reason: str = ""


class Reply:
    """Reads one streamed answer. `feed` it bytes as they come; empty bytes are the end of the stream.

    It holds the answer, of at most `max_chars` characters, and one unfinished line. `was_cut` is asked whether a prompt
    of which the server counted so many tokens was cut.
    """

    def __init__(
        self,
        model: str,
        *,
        max_chars: int,
        preload_ms: float = 0.0,
        was_cut: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.complete = False
        self._model = model
        self._max_chars = max_chars
        self._preload_ms = preload_ms
        self._was_cut = was_cut
        self._lines = LineSplitter()
        self._watchdog = Watchdog()
        self._parts: list[str] = []
        self._size = 0
        self._sent = perf_counter()
        self._first_token_ms: float | None = None

    def feed(self, data: bytes) -> Iterator[Delta | Answer]:
        """What `data` completes: deltas, and last the answer, after which `complete` is true.

        Raises:
            JobError: the server reports an error, the model loops, the answer is cut off or longer than its schema
                allows, or the stream ends early.
        """
        for line in self._lines.feed(data) if data else self._lines.end():
            if line and not self.complete:
                item = self._take(parse(line))
                if item is not None:
                    yield item
        if not data and not self.complete:
            raise self._broke_off()

    def _take(self, chunk: JsonObject) -> Delta | Answer | None:
        if "error" in chunk:
            raise classify(200, error_text(chunk), self._model)
        text = _content(chunk)
        if text:
            self._keep(text)
        if chunk.get("done") is True:
            self.complete = True
            return self._answer(chunk)
        self._watchdog.feed(text)
        return Delta(text) if text else None

    def _keep(self, text: str) -> None:
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()
        self._size += len(text)
        if self._size > self._max_chars:
            # No loop and no limit met: this text cannot be the JSON that was asked for.
            raise OutputNotJson(
                f"the answer of {self._model!r} passed {self._max_chars} characters, the most its schema allows: "
                "the model server does not apply `format`"
            )
        self._parts.append(text)

    def _answer(self, chunk: JsonObject) -> Answer:
        """The answer, unless the final chunk says that there is none."""
        prompt_cut = self._was_cut(_count(chunk, "prompt_eval_count"))
        reason = chunk.get("done_reason")
        if reason == "length":
            raise OutputTruncated(f"{self._model!r} stopped at the limit, after {_count(chunk, 'eval_count')} tokens")
        if reason in ("load", "unload"):
            raise InternalError(f"the model server took the request of {self._model!r} for a mere {reason}")
        text = "".join(self._parts)
        if not text.strip():
            raise OutputNotJson(f"{self._model!r} gave an empty answer")
        return Answer(text, self._figures(chunk, prompt_cut), reason if isinstance(reason, str) else "")

    def _figures(self, chunk: JsonObject, prompt_cut: bool) -> Figures:
        first = self._elapsed_ms() if self._first_token_ms is None else self._first_token_ms
        return Figures.of(self._model, chunk, preload_ms=self._preload_ms, first_token_ms=first, prompt_cut=prompt_cut)

    def _broke_off(self) -> JobError:
        """An end without a final chunk: Ollama's repeat guard (fact 9), or a runner that is gone."""
        if self._watchdog.gave_up:
            return ModelStalledLoop(f"{self._model!r} repeated itself until the model server gave up")
        return ModelUnavailable(f"the model server ended the answer of {self._model!r} without a final chunk")

    def _elapsed_ms(self) -> float:
        return (perf_counter() - self._sent) * 1000


def _content(chunk: JsonObject) -> str:
    """`message.content`, "" where it is missing or no text."""
    message = chunk.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    return text if isinstance(text, str) else ""


def _count(chunk: JsonObject, key: str) -> int:
    value = chunk.get(key)
    return value if type(value) is int and value > 0 else 0
