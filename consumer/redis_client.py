"""Redis as the workers of one project share it: who was first to hear of a job, and which jobs are taken.

Used by the Redis bell alone; the only module that needs the package `redis`. Each call is short and has a clock; what
goes wrong is `RedisAway`. Keys are the project's own and live for seconds, so Redis holds little and remembers little.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from consumer.errors import ConsumerError

# Seconds for a call, its connection included: a hung Redis must not hold a job up.
CLOCK = 0.5
# Seconds that a key lives: longer than the second doorbell of a job and the look after its deadline may take.
KEPT = 10.0
_WON, _TAKEN = b"won", b"taken"


class RedisAway(ConsumerError):
    """Redis did not do what was asked, in time: away, hung, full, or not ours to use."""


class RedisClient:
    """One connection, made anew by `connect`. `project` (any text) separates projects that share a Redis.

    Every method but `aclose` raises RedisAway.
    """

    def __init__(self, url: SecretStr, *, project: str) -> None:
        self._url = url
        # the braces keep a project's keys on one node of a cluster
        self._prefix = f"workflow-consumer:{{{hashlib.sha256(project.encode()).hexdigest()[:16]}}}:"
        self._redis = self._made()

    async def connect(self) -> None:
        """Connect anew: nothing of an earlier connection can be taken for an answer."""
        await self.aclose()
        self._redis = self._made()
        await self.check()

    async def check(self) -> None:
        """See that a key can be written: a full or read-only Redis answers, but is of no use."""
        async with self._clock():
            await self._redis.set(f"{self._prefix}written", b"", px=int(KEPT * 1000))

    async def first(self, job_id: str) -> bool:
        """Whether nobody has heard of this job before us, nor taken it."""
        async with self._clock():
            return bool(await self._redis.set(self._key(job_id), _WON, nx=True, px=int(KEPT * 1000)))

    async def tell_taken(self, job_ids: Iterable[str]) -> None:
        """These have been claimed."""
        async with self._clock(), self._redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.set(self._key(job_id), _TAKEN, px=int(KEPT * 1000))
            await pipeline.execute()

    async def taken(self, job_ids: Sequence[str]) -> set[str]:
        """Those of them that somebody has claimed, as far as Redis knows."""
        async with self._clock():
            values = await self._redis.mget([self._key(job_id) for job_id in job_ids])
            return {job_id for job_id, value in zip(job_ids, values, strict=True) if value == _TAKEN}

    async def aclose(self) -> None:
        """Drop the connection; a server that hangs is not waited for."""
        with suppress(RedisAway):
            async with self._clock():
                await self._redis.aclose()

    def _made(self) -> Redis:
        return Redis.from_url(self._url.get_secret_value(), retry=Retry(NoBackoff(), 0), protocol=2)

    def _key(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}"

    @asynccontextmanager
    async def _clock(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(CLOCK):
                yield
        except TimeoutError:
            raise RedisAway(f"no answer within {CLOCK:g} s") from None
        except (
            Exception
        ) as error:  # whatever the package may raise: this is a help, and its defects are no worker's end
            raise RedisAway(self._reason(error)) from None

    def _reason(self, error: Exception) -> str:
        """One line. Some servers repeat a command that they do not know, AUTH's password included."""
        said = (str(error).split(", with args", 1)[0].splitlines() or [type(error).__name__])[0]
        password = urlsplit(self._url.get_secret_value()).password or ""
        for secret in filter(None, (password, unquote(password))):
            said = said.replace(secret, "***")
        return said[:200]
