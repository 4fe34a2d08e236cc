"""What a raw Realtime client sees of an insert: the floor under the worker's own latency, measured in the same run."""

from __future__ import annotations

import asyncio
import statistics
import time

from realtime import AsyncRealtimeClient, RealtimePostgresChangesListenEvent

from benchmarks.load import Load


async def raw_client_latencies(url: str, key: str, load: Load, rounds: int) -> dict[str, float]:
    """Median milliseconds from a row's `created_at` to the parsed frame, per doorbell; one job a round."""
    client = AsyncRealtimeClient(f"{url}/realtime/v1", key, auto_reconnect=False)
    heard: dict[str, list[float]] = {"changes": [], "broadcast": []}
    ready = asyncio.Event()
    changes = client.channel("raw-changes")
    changes.on_postgres_changes(
        RealtimePostgresChangesListenEvent.Insert,
        lambda _: heard["changes"].append(time.time()),
        table="workflow_generation_jobs",
        schema="public",
    ).on_system(lambda _: ready.set())
    await changes.subscribe()
    doorbell = client.channel("workflow_jobs", {"config": {"private": True}})  # type: ignore[arg-type]
    doorbell.on_broadcast("job_pending", lambda _: heard["broadcast"].append(time.time()))
    await doorbell.subscribe()
    await asyncio.wait_for(ready.wait(), 30)
    spans: dict[str, list[float]] = {"changes": [], "broadcast": []}
    for _ in range(rounds):
        for times in heard.values():
            times.clear()
        await load.insert()
        await asyncio.sleep(0.7)  # longer than the feed's idle poll interval, so that every event has come
        made = await load.newest()
        for name, times in heard.items():
            spans[name] += [(times[0] - made) * 1000] if times else []
    await client.close()
    return {name: statistics.median(values) if values else float("nan") for name, values in spans.items()}
