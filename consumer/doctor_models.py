"""The doctor's looks at the model server: its version, each model, whether they fit together. Called by `doctor`.

Models are loaded with the worker's own options, so that one in use stays as it is, and one after the other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

from consumer.checkup import Finding, failed, ok, skipped, warning
from consumer.errors import ConfigurationError, ModelTimeout
from consumer.lanes import Lanes
from consumer.loaded import LoadedModel
from consumer.model_settings import ModelSettings
from consumer.ollama import Ollama, canonical
from consumer.preflight import check_server
from consumer.recovery import CANARY
from consumer.sysexits import EX_CONFIG, EX_UNAVAILABLE

# `truncate` and `shift` are known since then; before, a prompt that is too long is cut without a word (§1.4).
OLDEST = (0, 12, 6)
NOT_LOADED = "not asked for (--no-load)"


class ModelChecks:
    """Looks at the model server of these settings; `load`: models are loaded and asked for a token."""

    def __init__(self, settings: ModelSettings, ollama: Ollama, *, load: bool) -> None:
        self._settings = settings
        self._ollama = ollama
        self._load = load
        self._loaded: dict[str, LoadedModel] = {}

    @property
    def names(self) -> list[str]:
        """The models, each once."""
        return list(dict.fromkeys(self._settings.models.values()))

    def seconds(self, model: str) -> float:
        """How long a look at a model may take."""
        return self._ollama.clocks_of(model).load + 2 * CANARY

    async def server(self) -> Finding:
        """Whether it answers, and is new enough."""
        await check_server(self._ollama, self._settings)
        said = await self._ollama.version()
        found = f"{self._settings.ollama_local_url} answers, version {said or 'unknown'}"
        version = re.match(r"(\d+)\.(\d+)\.(\d+)", said)
        if version is None or said == "0.0.0":
            return warning(found, f"It should be Ollama {_dotted(OLDEST)} or newer")
        if tuple(map(int, version.groups())) < OLDEST:
            return failed(found, f"It cuts prompts that are too long: upgrade Ollama to {_dotted(OLDEST)}", EX_CONFIG)
        return ok(found)

    def model(self, name: str) -> Callable[[], Awaitable[Finding]]:
        """A look at one model: it is there, loads, and writes."""

        async def look() -> Finding:
            if canonical(name) not in await self._ollama.models():
                url = self._settings.ollama_local_url
                raise ConfigurationError(f"is not on {url}. Run: ollama pull {name} (or: consumer run --pull-missing)")
            if not self._load:
                return ok("is there; not loaded (--no-load)")
            try:
                return await self._tried(name)
            except ModelTimeout as late:
                what = "is not loaded" if late.clock == "load" else "gives no token"
                advice = "Look at `ollama ps`; restart the model server if nothing moves"
                return failed(f"{what} within {late.seconds:g} s", advice, EX_UNAVAILABLE)

        return look

    async def _tried(self, name: str) -> Finding:
        load_ms = await self._ollama.preload(name)
        began = time.perf_counter()
        await self._ollama.canary(name, CANARY)
        seconds = time.perf_counter() - began
        loaded = {entry.name: entry for entry in await self._ollama.ps()}
        if canonical(name) in loaded:
            self._loaded[name] = loaded[canonical(name)]
        return ok(f"loaded in {load_ms / 1000:.1f} s, one token in {seconds:.1f} s")

    async def fit(self) -> Finding:
        """Whether both stay loaded side by side."""
        if not self._load:
            return skipped(NOT_LOADED)
        if len(self.names) == 1:
            return ok("one model does all steps")
        lanes = Lanes(self._settings.models)
        lanes.observe(await self._ollama.ps())
        if lanes.both_fit:
            return ok("both stay loaded side by side")
        advice = "Jobs go in batches (MODEL_BATCH_SIZE); smaller models or a lower OLLAMA_NUM_CTX let both stay"
        return warning("they do not stay loaded side by side", advice)

    async def context(self) -> Finding:
        """Whether the context that is asked for is served, and leaves the model on the GPU."""
        if not self._load:
            return skipped(NOT_LOADED)
        asked = self._settings.ollama_num_ctx
        for name, entry in self._loaded.items():
            if 0 < entry.context < asked:
                advice = f"Set OLLAMA_NUM_CTX={entry.context}, or use a model with a longer context"
                return warning(f"{name!r} serves {entry.context} tokens of the {asked} asked for", advice)
            if 0 < entry.size_vram < entry.size:
                share = 100 * entry.size_vram // entry.size
                advice = "A lower OLLAMA_NUM_CTX or a smaller model makes it much faster"
                return warning(f"{name!r} is on the GPU by {share} % only, with {asked} tokens", advice)
        return ok(f"{asked} tokens")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
