"""The driver of the model server: speaks Ollama's native API, keeps the clocks, names every failure.

Called by the steps (preload, chat, ps), by the recovery, and before the start (models, pull).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from loguru import logger

from consumer.budget import Budget, PromptSize
from consumer.clocks import Clocks, Stopwatch
from consumer.errors import InternalError, ModelTimeout, ModelUnavailable
from consumer.job import JsonObject
from consumer.loaded import LoadedModel, loaded_models
from consumer.ollama_client import OllamaClient
from consumer.ollama_pull import SILENCE_SECONDS, VERIFY_SECONDS, PullProgress, PullReply
from consumer.ollama_reply import Answer, Delta, Figures, Reply
from consumer.ollama_wire import canonical, entries, keep_alive
from consumer.ports import ModelRequest

__all__ = ["Answer", "Clocks", "Delta", "Figures", "ModelOptions", "Ollama", "canonical"]

# Unloading a hung runner takes the server 5 s (traces/ollama.md fact 4).
UNLOAD_SECONDS = 30.0
# A preload that takes longer was a load. Warm ones take 1 to 60 ms, loads from 400 ms (traces/ollama.md, "Numbers").
LOAD_SIGN_MS = 100.0


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a model is loaded with, the same in every call: a difference makes the server load it anew (§1.4)."""

    num_ctx: int = 8192
    keep_alive: str | int = "10m"
    extra: Mapping[str, int | float | str | bool] = field(default_factory=dict)


class Ollama:
    """One model server; `ConfigurationError` for a bad URL. Its methods raise `JobError`s and nothing else.

    `gpu_clocks` replace `clocks` for a model that `ps` has found wholly on a GPU.
    """

    def __init__(
        self,
        base_url: str,
        *,
        clocks: Clocks | None = None,
        gpu_clocks: Clocks | None = None,
        options: ModelOptions | None = None,
        user_agent: str = "workflow-consumer",
    ) -> None:
        self._clocks = clocks or Clocks()
        self._gpu_clocks = gpu_clocks or self._clocks
        self._on_gpu: set[str] = set()
        self._doubted: set[str] = set()
        self._options = options or ModelOptions()
        self._client = OllamaClient(base_url, user_agent)
        self._preload_ms: dict[str, float] = {}
        self._budget = Budget(self._options.num_ctx)

    async def version(self) -> str:
        """The server's version. Green even when generation hangs (facts/ollama.md §1.1)."""
        return str((await self._client.ask("/api/version")).get("version", ""))

    async def models(self) -> dict[str, str]:
        """Canonical name → digest of every model on the server."""
        return {name: str(entry.get("digest", "")) for name, entry in entries(await self._client.ask("/api/tags"))}

    async def ps(self) -> list[LoadedModel]:
        """The models in memory; one that is loading is not there yet (fact 6)."""
        listed = loaded_models(await self._client.ask("/api/ps"))
        self.learn(listed)
        return listed

    def learn(self, loaded: Iterable[LoadedModel]) -> None:
        """Which models are on a GPU: their clocks are shorter."""
        self._on_gpu = {entry.name for entry in loaded if entry.on_gpu}

    def doubt_gpu(self, model: str, doubt: bool) -> None:
        """Whether the speed of `model` speaks against what `ps` says of its GPU."""
        (self._doubted.add if doubt else self._doubted.discard)(canonical(model))

    async def preload(self, model: str) -> float:
        """Load `model` as `chat` will use it, under the load clock; returns the milliseconds it took, ~1 if loaded.

        Raises:
            ModelTimeout: the load clock ran out, which also makes the server give the load up (§1.7).
        """
        body = {**self._frozen(model), "messages": [], "stream": False, "options": self._runner_options()}
        started = perf_counter()
        reply = await self._client.whole("/api/chat", body, Stopwatch("load", self.clocks_of(model).load))
        if reply.get("done") is not True:
            raise ModelUnavailable(f"the model server did not finish loading {model!r}")
        self._preload_ms[canonical(model)] = spent = (perf_counter() - started) * 1000
        return spent

    async def chat(self, model: str, request: ModelRequest) -> AsyncGenerator[Delta | Answer, None]:
        """Stream one answer: deltas, and last the `Answer`. Use it in `contextlib.aclosing`: to leave is to cancel.

        Raises:
            ModelTimeout: the first-token, between-tokens or total clock ran out.
            PromptTooLong: before anything is sent, when the answer cannot fit behind the prompt.
            JobError: any other failure; `OutputTruncated` when the answer met its token limit.
        """
        body = self._chat_body(model, request)
        size, clocks = self._budget.admit(model, request), self.clocks_of(model)
        watch = Stopwatch("first_token", clocks.first_token, clocks.total)
        preload_ms = self._preload_ms.pop(canonical(model), 0.0)
        was_cut = partial(self._was_cut, model, size)
        reply = Reply(model, max_chars=request.max_chars, preload_ms=preload_ms, was_cut=was_cut)
        async with self._client.exchange("/api/chat", body, watch) as read:
            while not reply.complete:
                for item in reply.feed(await read()):
                    yield item
                watch.arm("between_tokens", clocks.between_tokens)

    def _was_cut(self, model: str, size: PromptSize, counted: int) -> bool:
        """Whether the server seems to have cut the prompt, which is said in the log."""
        cut = self._budget.cut(model, size, counted)
        if cut:
            logger.warning(
                "{} may have seen a part of its prompt only: the server counted {} tokens of about {}, num_ctx is {}",
                model, counted, self._budget.estimate(model, size), self._options.num_ctx,
            )  # fmt: skip
        return cut

    async def unload(self, model: str) -> None:
        """Ask the server to drop `model`; it goes when it is idle, at once when it hangs (facts 4, 6)."""
        body = {"model": model, "messages": [], "keep_alive": 0, "stream": False}
        await self._client.ask("/api/chat", body, UNLOAD_SECONDS)

    async def pull(self, model: str, silence: float = SILENCE_SECONDS) -> AsyncGenerator[PullProgress, None]:
        """Have the server fetch `model`, which ends well only after its `success`; `silence`: seconds between lines.

        Use it in `contextlib.aclosing`: to leave is to break off, and the next pull goes on where this one ended.

        Raises:
            ModelNotFound: there is no such model.
            JobError: any other failure; a `ModelUnavailable` may be gone the next time.
        """
        reply, watch = PullReply(model), Stopwatch("total", silence)
        try:
            async with self._client.exchange("/api/pull", {"model": model}, watch) as read:
                while not reply.complete:
                    for progress in reply.feed(await read()):
                        yield progress
                    watch.arm("total", VERIFY_SECONDS if reply.verifying else silence)
        except ModelTimeout as late:
            silent = f"the model server said nothing for {late.seconds:g} s while it pulled {model!r}"
            raise ModelUnavailable(silent) from late

    async def canary(self, model: str, seconds: float) -> None:
        """One token of a loaded model: proof that it generates.

        Raises:
            ModelTimeout: not within `seconds`.
        """
        body = {
            **self._frozen(model),
            "messages": [{"role": "user", "content": "Say yes."}],
            "stream": False,
            "think": False,
            "options": {**self._runner_options(), "num_predict": 1},
        }
        self._preload_ms.pop(canonical(model), None)  # no job's load
        reply = await self._client.whole("/api/chat", body, Stopwatch("first_token", seconds))
        if reply.get("done") is not True:
            raise ModelUnavailable(f"the model server broke off over one token of {model!r}")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def clocks_of(self, model: str) -> Clocks:
        """The clocks of a call of `model`."""
        return self._gpu_clocks if canonical(model) in self._on_gpu - self._doubted else self._clocks

    def _frozen(self, model: str) -> JsonObject:
        return {"model": model, "shift": False, "keep_alive": keep_alive(self._options.keep_alive)}

    def _runner_options(self) -> JsonObject:
        return {**self._options.extra, "num_ctx": self._options.num_ctx}

    def _chat_body(self, model: str, request: ModelRequest) -> JsonObject:
        if request.max_tokens < 1:
            raise InternalError(f"max_tokens is {request.max_tokens}: Ollama reads that as «without end»")
        limits = {"num_predict": request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        return {
            **self._frozen(model),
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": True,
            "think": False,
            "truncate": False,
            "options": {**self._runner_options(), **limits},
            **({"format": request.schema} if request.schema else {}),
        }
