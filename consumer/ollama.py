"""The driver of the model server: speaks Ollama's native API, keeps the clocks, names every failure.

Called by the steps (preload, chat) and by the app (version, models, loaded, unload). Nothing of httpx leaves it. A
connection serves one call: leaving a call closes it, which is what stops generation on the server (traces/ollama.md
fact 7), and no call can meet a connection that has gone stale.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

import httpx

from consumer.clocks import Clocks, Stopwatch
from consumer.errors import InternalError, ModelTimeout, ModelUnavailable
from consumer.job import JsonObject
from consumer.loaded import LoadedModel, loaded_models
from consumer.ollama_client import client_of, why
from consumer.ollama_pull import SILENCE_SECONDS, VERIFY_SECONDS, PullProgress, PullReply
from consumer.ollama_reply import Answer, Delta, Figures, Reply
from consumer.ollama_wire import MAX_LINE_BYTES, canonical, classify, entries, error_text, keep_alive, parse
from consumer.ports import ModelRequest

__all__ = ["Answer", "Clocks", "Delta", "Figures", "ModelOptions", "Ollama", "canonical"]

# Lists and versions never touch the scheduler (facts/ollama.md §1.1): milliseconds, or the server is not there.
ASK_SECONDS = 10.0
# Unloading a hung runner takes the server 5 s (traces/ollama.md fact 4).
UNLOAD_SECONDS = 30.0


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
        self._client = client_of(base_url, user_agent)
        url = self._client.base_url
        self._origin = f"{url.scheme}://{url.netloc.decode()}"
        self._preload_ms: dict[str, float] = {}

    async def version(self) -> str:
        """The server's version. Green even when generation hangs (facts/ollama.md §1.1)."""
        return str((await self._ask("/api/version")).get("version", ""))

    async def models(self) -> dict[str, str]:
        """Canonical name → digest of every model on the server."""
        return {name: str(entry.get("digest", "")) for name, entry in entries(await self._ask("/api/tags"))}

    async def ps(self) -> list[LoadedModel]:
        """The models in memory; one that is loading is not there yet (fact 6)."""
        listed = loaded_models(await self._ask("/api/ps"))
        self._on_gpu = {entry.name for entry in listed if entry.on_gpu}
        return listed

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
        reply = await self._whole("/api/chat", body, Stopwatch("load", self._clocks_of(model).load))
        if reply.get("done") is not True:
            raise ModelUnavailable(f"the model server did not finish loading {model!r}")
        self._preload_ms[canonical(model)] = spent = (perf_counter() - started) * 1000
        return spent

    async def chat(self, model: str, request: ModelRequest) -> AsyncGenerator[Delta | Answer, None]:
        """Stream one answer: deltas, and last the `Answer`. Use it in `contextlib.aclosing`: to leave is to cancel.

        Raises:
            ModelTimeout: the first-token, between-tokens or total clock ran out.
            JobError: any other failure; `OutputTruncated` when the answer met its token limit.
        """
        body = self._chat_body(model, request)
        clocks = self._clocks_of(model)
        watch = Stopwatch("first_token", clocks.first_token, clocks.total)
        reply = Reply(model, preload_ms=self._preload_ms.pop(canonical(model), 0.0))
        async with self._exchange("/api/chat", body, watch) as response:
            chunks = response.aiter_raw()
            while not reply.complete:
                data = await watch.wait(self._read(chunks))
                for item in reply.feed(data):
                    yield item
                watch.arm("between_tokens", clocks.between_tokens)

    async def unload(self, model: str) -> None:
        """Ask the server to drop `model`; it goes when it is idle, at once when it hangs (facts 4, 6)."""
        body = {"model": model, "messages": [], "keep_alive": 0, "stream": False}
        await self._ask("/api/chat", body, UNLOAD_SECONDS)

    async def pull(self, model: str, silence: float = SILENCE_SECONDS) -> AsyncGenerator[PullProgress, None]:
        """Have the server fetch `model`, which ends well only after its `success`; `silence`: seconds between lines.

        Use it in `contextlib.aclosing`: to leave is to break off, and the next pull goes on where this one ended.

        Raises:
            ModelNotFound: there is no such model.
            JobError: any other failure; a `ModelUnavailable` may be gone the next time.
        """
        reply, watch = PullReply(model), Stopwatch("total", silence)
        try:
            async with self._exchange("/api/pull", {"model": model}, watch) as response:
                chunks = response.aiter_raw()
                while not reply.complete:
                    data = await watch.wait(self._read(chunks))
                    for progress in reply.feed(data):
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
        reply = await self._whole("/api/chat", body, Stopwatch("first_token", seconds))
        if reply.get("done") is not True:
            raise ModelUnavailable(f"the model server broke off over one token of {model!r}")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _clocks_of(self, model: str) -> Clocks:
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
            "format": request.schema,
            "stream": True,
            "think": False,
            "truncate": False,
            "options": {**self._runner_options(), **limits},
        }

    async def _ask(self, path: str, body: JsonObject | None = None, seconds: float = ASK_SECONDS) -> JsonObject:
        try:
            return await self._whole(path, body, Stopwatch("total", seconds))
        except ModelTimeout as late:
            raise ModelUnavailable(f"the model server at {self._origin} did not answer within {seconds:g} s") from late

    async def _whole(self, path: str, body: JsonObject | None, watch: Stopwatch) -> JsonObject:
        """A reply of one plain JSON object (fact 1)."""
        async with self._exchange(path, body, watch) as response:
            reply = parse(await watch.wait(self._drain(response)))
        if "error" in reply:
            raise classify(200, error_text(reply), str((body or {}).get("model", "")))
        return reply

    @asynccontextmanager
    async def _exchange(self, path: str, body: JsonObject | None, watch: Stopwatch) -> AsyncIterator[httpx.Response]:
        """A reply with status 200, its body unread. Leaving closes the connection."""
        response = await watch.wait(self._send(path, body))
        try:
            if response.status_code != httpx.codes.OK:
                text = error_text(await watch.wait(self._drain(response)))
                raise classify(response.status_code, text, str((body or {}).get("model", "")))
            yield response
        finally:
            await response.aclose()

    async def _send(self, path: str, body: JsonObject | None) -> httpx.Response:
        """POST the body, or GET without one."""
        # json.dumps escapes what is not ASCII, so a lone surrogate of a model's text cannot stop the request.
        content = None if body is None else json.dumps(body).encode()
        request = self._client.build_request("GET" if content is None else "POST", path, content=content)
        try:
            return await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            raise ModelUnavailable(
                f"the model server at {self._origin} does not answer ({why(error)}): start it or set OLLAMA_LOCAL_URL"
            ) from error

    async def _read(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The next bytes of a body; none at its end."""
        try:
            return await anext(chunks, b"")
        except httpx.TransportError as error:
            raise ModelUnavailable(f"the model server at {self._origin} broke off ({why(error)})") from error

    async def _drain(self, response: httpx.Response) -> bytes:
        body, chunks = bytearray(), response.aiter_raw()
        while (data := await self._read(chunks)) and len(body) <= MAX_LINE_BYTES:
            body += data
        return bytes(body)
