"""What the model server holds in memory, out of its /api/ps. Pure; used by the driver, the lanes and the recovery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from consumer.job import JsonObject
from consumer.ollama_wire import entries


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One loaded model: canonical name, bytes in all and on the GPU; `stopping`: it goes once it is idle (fact 6).

    `digest` is that of the model in memory, which a pull since its load may have replaced on the disk. `context`:
    tokens that it serves; 0 when the server does not say.
    """

    name: str
    size: int
    size_vram: int
    stopping: bool = False
    digest: str = ""
    context: int = 0

    @property
    def on_gpu(self) -> bool:
        """Wholly there. It may be told so even after the GPU was lost (facts/ollama.md §3): the speed knows better."""
        return self.size_vram >= self.size > 0

    @property
    def on_cpu(self) -> bool:
        """Wholly there."""
        return self.size > self.size_vram == 0


def loaded_models(reply: JsonObject) -> list[LoadedModel]:
    """The models that /api/ps lists; one that is being loaded is not among them (fact 6)."""
    now = datetime.now(UTC)
    return [
        LoadedModel(
            name,
            _number(entry, "size"),
            _number(entry, "size_vram"),
            _expired(entry, now),
            str(entry.get("digest", "")),
            _number(entry, "context_length"),
        )
        for name, entry in entries(reply)
    ]


def _number(entry: JsonObject, key: str) -> int:
    value = entry.get(key)
    return value if type(value) is int else 0


def _expired(entry: JsonObject, now: datetime) -> bool:
    """An expiry in the past, on the server's clock, of a model that is still listed: «Stopping…» (§1.1)."""
    try:
        expires = datetime.fromisoformat(str(entry.get("expires_at")))
    except ValueError:
        return False
    return expires.tzinfo is not None and expires < now
