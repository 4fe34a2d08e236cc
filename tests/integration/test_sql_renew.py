"""Renewing: one write for lease and progress, fenced by the attempt, safe to repeat."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def test_a_renewal_extends_the_lease_and_writes_what_it_brings(db: Database) -> None:
    await db.job()
    await db.claim(lease_seconds=1)
    before = (await db.row())["lease_expires_at"]
    answer = await db.renew(
        1, 1, progress=35, phase="workflow_generation", preview={"nodes": ["Webhook"]}, checkpoint={"analyze": {}},
        logs=[{"message": "Analysed", "progress": 30, "phase": "analyze"}], observability={"input_tokens": 9},
    )  # fmt: skip
    row = await db.row()
    assert answer == {"held": True, "cancel_requested": False}
    assert row["lease_expires_at"] > before
    assert (row["progress_percentage"], row["current_phase"]) == (35, "workflow_generation")
    assert (row["preview"], row["checkpoint"]) == ({"nodes": ["Webhook"]}, {"analyze": {}})
    assert row["observability"] == {"input_tokens": 9}
    entry = row["progress_logs"][0]
    assert (entry["message"], entry["progress"], entry["phase"]) == ("Analysed", 30, "analyze")
    assert entry["timestamp"].endswith("+00:00")


async def test_a_bare_renewal_changes_nothing_but_the_lease(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, progress=35, phase="validation", preview={"a": 1}, checkpoint={"b": 2})
    before = await db.row()
    await db.renew(1, 2)
    after = await db.row()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"lease_expires_at", "updated_at", "write_seq"}


async def test_a_repeated_or_overtaken_renewal_writes_nothing_twice(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 2, progress=50, logs=[{"message": "second"}])
    await db.renew(1, 2, progress=50, logs=[{"message": "second"}])
    assert (await db.renew(1, 1, progress=99, logs=[{"message": "first"}]))["held"]
    row = await db.row()
    assert [entry["message"] for entry in row["progress_logs"]] == ["second"]
    assert row["progress_percentage"] == 50


async def test_progress_never_goes_back_within_an_attempt(db: Database) -> None:
    await db.job()
    await db.claim()
    seen = []
    for write, progress in enumerate([40, 20, None, 900, -3], 1):
        await db.renew(1, write, progress=progress)
        seen.append((await db.row())["progress_percentage"])
    assert seen == [40, 40, 40, 100, 100]


async def test_checkpoints_are_merged_by_phase(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {"v": 1}})
    await db.renew(1, 2, checkpoint={"generate": {"v": 2}})
    assert (await db.row())["checkpoint"] == {"analyze": {"v": 1}, "generate": {"v": 2}}


async def test_the_newest_hundred_log_lines_are_kept(db: Database) -> None:
    await db.job()
    await db.claim()
    for write in range(1, 4):
        await db.renew(1, write, logs=[{"message": f"{write}-{n}"} for n in range(50)] + ["not an object"])
    messages = [entry["message"] for entry in (await db.row())["progress_logs"]]
    assert messages == [f"{write}-{n}" for write in (2, 3) for n in range(50)]


async def test_an_overtaken_attempt_cannot_renew(db: Database) -> None:
    await db.job()
    await db.claim("w1")
    await db.expire_lease()
    await db.claim("w2")
    before = await db.row()
    assert await db.renew(1, 99, progress=90) == {"held": False, "cancel_requested": False}
    assert await db.row() == before


async def test_an_expired_lease_that_nobody_took_is_still_held(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.expire_lease()
    assert (await db.renew(1, 1))["held"]
    assert await db.claim("w2") == []


async def test_a_null_checkpoint_drops_the_phase(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {"v": None}, "generate": {"v": 2}})
    await db.renew(1, 2, checkpoint={"generate": None})
    assert (await db.row())["checkpoint"] == {"analyze": {"v": None}}
    await db.renew(1, 3, checkpoint={"analyze": None})
    assert (await db.row())["checkpoint"] is None
