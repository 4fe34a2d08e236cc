"""The listener against the dev stack's Realtime and a real PostgreSQL with the real migrations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from devstack.gateway import Gateway
from devstack.keys import Keys
from devstack.postgres import Postgres
from devstack.realtime import RealtimeApi
from tests.ear import QUICK, Ear, listening, until


@dataclass
class Project:
    cluster: Postgres
    keys: Keys
    realtime: RealtimeApi
    gateway: Gateway

    @property
    def url(self) -> str:
        return f"{self.gateway.url}/realtime/v1"

    async def sql(self, text: str) -> str:
        return await asyncio.to_thread(self.cluster.psql, text)

    async def insert(self, job_id: str) -> None:
        await self.sql(f"insert into public.workflow_generation_jobs (id, prompt) values ('{job_id}', 'a form')")

    async def beat(self, worker: str) -> None:
        await self.sql(f"select public.heartbeat_workflow_worker('{worker}')")


@pytest.fixture
async def project(cluster: Postgres) -> AsyncIterator[Project]:
    keys = Keys.fresh()
    realtime = RealtimeApi(
        cluster.url, keys, poll_busy=0.02, poll_idle=0.05, handshake_delay=0, join_error_delay=0, cold_start=(0.3, 0.3)
    )
    gateway = Gateway(cluster.url, keys, realtime=realtime)
    await gateway.start()
    try:
        yield Project(cluster, keys, realtime, gateway)
    finally:
        await gateway.stop()


async def both_doorbells(ear: Ear, sessions: int = 1) -> None:
    await ear.is_ready(sessions)
    await until(lambda: ear.listener.broadcast_ready, "the broadcast doorbell")


@pytest.mark.parametrize("kind", ["secret", "service_role"])
async def test_an_insert_rings_both_doorbells_with_either_kind_of_key(project: Project, kind: str) -> None:
    async with listening(project.url, key=getattr(project.keys, kind)) as ear:
        await both_doorbells(ear)
        await project.insert(f"job_{kind}")
        await until(lambda: len(ear.rings) == 2, "both rings")
        assert set(ear.rings) == {("broadcast", f"job_{kind}"), ("postgres_changes", f"job_{kind}")}
        assert (ear.readies, ear.listener.sessions) == (1, 1)


async def test_the_heartbeats_own_row_comes_back_and_nobody_elses(project: Project) -> None:
    async with listening(project.url, key=project.keys.secret, worker_id="canary") as ear:
        await ear.is_ready(1)
        await project.beat("another")
        await project.beat("canary")
        await project.beat("canary")
        await until(lambda: ear.beats == [1, 2], "the worker's own beats")
        await project.sql("update public.workflow_workers set poked_at = clock_timestamp()")
        await until(lambda: ear.pokes == 1, "the poke")


async def test_a_deaf_session_is_rebuilt_on_demand_and_hears_again(project: Project) -> None:
    async with listening(project.url, key=project.keys.secret, worker_id="deaf") as ear:
        await both_doorbells(ear)
        project.realtime.deaf = True
        await project.beat("deaf")
        await project.insert("job_unheard")
        project.realtime.deaf = False
        ear.listener.rebuild("the canary did not come back")
        await both_doorbells(ear, 2)
        await project.beat("deaf")
        await until(lambda: 2 in ear.beats, "the canary of the new session")
        assert ("postgres_changes", "job_unheard") not in ear.rings


@pytest.mark.parametrize("code", [1012, 1001, None])
async def test_a_dropped_connection_comes_back_by_itself(project: Project, code: int | None) -> None:
    async with listening(project.url, key=project.keys.secret) as ear:
        await both_doorbells(ear)
        await project.realtime.drop_all(code)
        await both_doorbells(ear, 2)
        await project.insert(f"job_after_{code}")
        await until(lambda: ("postgres_changes", f"job_after_{code}") in ear.rings, "the event")
        assert (ear.readies, ear.listener.sessions) == (2, 2)


async def test_a_restarted_gateway_is_found_again(project: Project) -> None:
    async with listening(project.url, key=project.keys.secret) as ear:
        await both_doorbells(ear)
        await project.gateway.stop()
        await until(lambda: not ear.ready, "the loss is noticed")
        await project.gateway.start()
        await both_doorbells(ear, 2)
        await project.insert("job_after_restart")
        await until(lambda: ("postgres_changes", "job_after_restart") in ear.rings, "the event")


async def test_planned_replacements_lose_no_event(project: Project) -> None:
    timings = replace(QUICK, recycle=(0.05, 0.2))
    async with listening(project.url, timings, key=project.keys.secret) as ear:
        await ear.is_ready(1)
        for number in range(20):
            await project.insert(f"job_recycled_{number}")
        expected = {f"job_recycled_{number}" for number in range(20)}
        await until(lambda: expected <= {job for _, job in ear.rings if job}, "every event")
        await until(lambda: ear.readies >= 3, "it was replaced meanwhile")


async def test_a_wrong_key_is_named_and_tried_again_slowly(project: Project) -> None:
    timings = replace(QUICK, slow_retry=600)
    async with listening(project.url, timings, key="sb_secret_wrong") as ear:
        await until(lambda: ear.listener.last_error is not None, "a reason")
        assert "check SUPABASE_SERVICE_ROLE_KEY" in str(ear.listener.last_error)
        assert ear.listener.sessions == 1


async def test_a_table_outside_the_publication_is_named_with_the_way_out(project: Project) -> None:
    async with listening(project.url, key=project.keys.secret, table="not_published") as ear:
        await until(lambda: ear.said("is it in the publication supabase_realtime"), "the way out")
        assert ear.said("Unable to subscribe to changes")
        assert ear.readies == 0
