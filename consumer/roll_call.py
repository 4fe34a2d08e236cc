"""How the workers are, asked from outside: one by its `/health`, or all by their rows. Called by the CLI's `health`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from consumer.errors import ConfigurationError, ServiceUnavailable
from consumer.hosts import is_local
from consumer.job import JsonObject

SECONDS = 5.0
# A worker that has missed so many heartbeats, and this many seconds, has ended without a word.
BEATS, SHORTEST = 3, 60.0
# What the row's `realtime` says where nobody works: of a worker that ended while it was paused, and of a doctor.
NO_WORKER = ("stopped", "doctor")


@dataclass(frozen=True, slots=True)
class Presence:
    """One worker: `status` and `reasons` as its `/health` says them."""

    worker_id: str
    status: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """As `consumer health --json` prints it."""
        return {
            "worker_id": self.worker_id, "status": self.status, "reasons": self.reasons, "warnings": self.warnings,
        }  # fmt: skip


async def ask(url: str, token: SecretStr | None) -> Presence:
    """What the worker that answers at `url` says.

    Raises:
        ServiceUnavailable: nobody answers there, or somebody else.
        ConfigurationError: it asks for another token.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        where = httpx.URL(url)
        async with httpx.AsyncClient(timeout=SECONDS, trust_env=not is_local(where.host)) as client:
            answer = await client.get(where.join("/health"), headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
        raise ServiceUnavailable(f"--url: no worker answers at {url} ({why}). Was it started with --http?") from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise ConfigurationError(f"WORKER_API_TOKEN: the worker at {url} wants another token. Set it to the worker's.")
    try:
        said = answer.json()
        return Presence(str(said["worker_id"]), str(said["status"]), tuple(said["reasons"]), tuple(said["warnings"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ServiceUnavailable(
            f"--url: what answers at {url} is no worker. Give the address of its --http."
        ) from error


def from_rows(rows: Iterable[JsonObject]) -> list[Presence]:
    """The same by the rows of `workflow_workers_at_a_glance`."""
    return [_from_row(row) for row in rows if row["realtime"] not in NO_WORKER]


def _from_row(row: JsonObject) -> Presence:
    silent, said = row["seen_seconds_ago"], row["health"]
    if silent > max(BEATS * (row["heartbeat_seconds"] or 0), SHORTEST):
        why = f"not seen for {silent:.0f} s: it has ended, hangs, or cannot reach the database. Look at its log"
        return Presence(row["worker_id"], "unhealthy", (why,), ())
    if said is None:
        why = f"version {row['version']} does not say how it is. Upgrade it"
        return Presence(row["worker_id"], "degraded", (why,), ())
    return Presence(row["worker_id"], said["status"], tuple(said["reasons"]), tuple(said["warnings"]))
