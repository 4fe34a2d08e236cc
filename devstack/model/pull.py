"""Pulls: the lines of `POST /api/pull`, for names that a test or a developer says can be pulled. Nothing is downloaded.

Called by `devstack.model.server`. Pull was not recorded (there was no registry): this follows facts/ollama.md §1.1 and
Ollama's own source (server/images.go PullModel, server/download.go): which lines come in which order, their keys,
`completed` left out when it is 0, one line for a layer that is there already, and a pull that broke off goes on where
it ended.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence

from devstack.model.faults import Faults
from devstack.model.models import Model
from devstack.model.wire import ApiError, JsonObject

NOT_THERE = "pull model manifest: file does not exist"
# Bytes of the layer after the weights, and in how many lines the weights come.
CONFIG_SIZE = 485
STEPS = 20


class Registry:
    """What can be pulled, and what is left of pulls that broke off."""

    def __init__(self, names: Sequence[str], faults: Faults) -> None:
        self._names = frozenset(names)
        self._faults = faults
        self._completed: dict[str, int] = {}

    async def pull(self, model: Model) -> AsyncGenerator[JsonObject, None]:
        """The lines of one pull, `success` last.

        Raises:
            ApiError: after the first line, an unknown name.
        """
        yield {"status": "pulling manifest"}
        if model.name not in self._names:
            raise ApiError(500, NOT_THERE)
        config = "sha256:" + hashlib.sha256(f"{model.name} config".encode()).hexdigest()
        for digest, size in ((f"sha256:{model.digest}", model.size), (config, CONFIG_SIZE)):
            for completed in self._steps(digest, size):
                self._completed[digest] = completed
                yield _layer(digest, size, completed)
                await asyncio.sleep(self._faults.pull_delay)
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            yield {"status": status}

    def _steps(self, digest: str, size: int) -> tuple[int, ...]:
        step = max(size // STEPS, 1)
        return (*range(self._completed.get(digest, 0), size, step), size) if size > CONFIG_SIZE else (size,)


def _layer(digest: str, total: int, completed: int) -> JsonObject:
    line = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total, "completed": completed}
    return {key: value for key, value in line.items() if value}
