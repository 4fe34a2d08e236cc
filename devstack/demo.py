"""`consumer demo` and `make demo`: the product's main job, with real parts, watched as its user would see it.

A worker process is started against the embedded stack; a signed-in user inserts the row with the official client and
watches it through Realtime, as a browser would.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from postgrest.exceptions import APIError
from realtime import RealtimePostgresChangesListenEvent
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from consumer.cli.people import refusal
from consumer.cli.progress import ProgressView
from consumer.job import JsonObject
from consumer.ollama import canonical
from consumer.replies import ENDED, JobState
from devstack.errors import DevStackError, RefusedPromptError
from devstack.postgres import die_with_parent
from devstack.report import print_report, say
from devstack.stack import DevStack, default_home

DEFAULT_PROMPT = "When a customer sends the contact form, save the request to a Google sheet and tell #sales on Slack"
TABLE = "workflow_generation_jobs"
# A worker that says what the demo waits for, and that gives its job back at once when the demo is stopped.
WORKER_SETTINGS = {"LOG_FORMAT": "json", "LOG_LEVEL": "INFO", "HEARTBEAT_SECONDS": "10", "SHUTDOWN_GRACE": "0"}
# The names under which the embedded model server serves its model; a real one may have others.
EMBEDDED_MODELS = {"ANALYZE_MODEL": "mistral:7b", "GENERATE_MODEL": "qwen2.5:7b"}
# How long a row may stand still before the demo gives up; the slowest machine seen needed 60 s for the whole job.
PATIENCE = 300.0


async def run_demo(prompt: str | None, home: Path | None) -> int:
    """Run the journey once; returns the exit code: 0 when the workflow is there and valid.

    Raises:
        DevStackError: the stack or the worker cannot start.
    """
    me = asyncio.current_task()
    assert me is not None
    cancel_once = iter([me.cancel])
    for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not interrupt the clean-up
        asyncio.get_running_loop().add_signal_handler(number, lambda: next(cancel_once, bool)())
    ollama = await real_ollama(os.environ)
    say("Starting the embedded stack: PostgreSQL, REST and Realtime gateway, model server" if ollama is None
        else f"Starting the embedded stack; models from {ollama}")  # fmt: skip
    async with DevStack(home or default_home(), ollama_url=ollama) as stack, worker(stack) as log:
        say(f"Worker is ready (log: {log})")
        row = await _submit_and_watch(stack, prompt or DEFAULT_PROMPT)
    return print_report(row)


async def real_ollama(environment: os._Environ[str] | dict[str, str]) -> str | None:
    """The URL of a real Ollama that answers and has both models, else None."""
    url = environment.get("OLLAMA_LOCAL_URL", "http://127.0.0.1:11434").rstrip("/")
    wanted = {canonical(environment.get(name) or embedded) for name, embedded in EMBEDDED_MODELS.items()}
    try:
        async with httpx.AsyncClient(timeout=3, trust_env=False) as http:
            tags = (await http.get(f"{url}/api/tags")).raise_for_status().json()
            return url if wanted <= {canonical(model["name"]) for model in tags["models"]} else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None


@asynccontextmanager
async def worker(stack: DevStack) -> AsyncIterator[Path]:
    """A `consumer run` of its own process, ready to work; stopped at the end. Yields its log file."""
    log = stack.home / "worker.log"
    ready = asyncio.Event()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consumer", "run", cwd=stack.home, start_new_session=True, preexec_fn=die_with_parent(),
        env={**os.environ, **stack.env, **WORKER_SETTINGS, **(EMBEDDED_MODELS if stack.model else {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    reading = asyncio.create_task(_tee(process.stderr, log, ready))
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting, reading}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        waiting.cancel()
        if not ready.is_set():
            last = log.read_text().strip().splitlines()[-1:] or ["no output"]
            raise DevStackError(f"the worker did not get ready: {last[0]} (see {log})")
        yield log
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def _tee(lines: asyncio.StreamReader, log: Path, ready: asyncio.Event) -> None:
    with log.open("wb", buffering=0) as sink:
        async for line in lines:
            sink.write(line)
            if b'"ready: waiting for jobs"' in line:
                ready.set()


async def _submit_and_watch(stack: DevStack, prompt: str) -> JsonObject:
    user_id, token = stack.user()
    async with httpx.AsyncClient(timeout=15, trust_env=False) as http:
        options = AsyncClientOptions(headers={"Authorization": f"Bearer {token}"}, httpx_client=http)
        client = await acreate_client(stack.url, stack.keys.publishable, options)
        await client.realtime.set_auth(token)
        try:
            return await _watched(client, user_id, prompt)
        finally:
            await client.realtime.close()


async def _watched(client: AsyncClient, user_id: str, prompt: str) -> JsonObject:
    changed: asyncio.Queue[JsonObject] = asyncio.Queue(1000)
    listening = asyncio.Event()
    channel = client.channel(f"demo-{user_id}")
    update = RealtimePostgresChangesListenEvent.Update
    channel.on_postgres_changes(
        update, lambda event: changed.put_nowait(event["data"].get("record") or {}), table=TABLE, schema="public"
    )
    channel.on_system(lambda _: listening.set())
    await channel.subscribe()
    await asyncio.wait_for(listening.wait(), 30)
    await _cancel_left_overs(client)
    job_id = await _insert(client, prompt)
    say(f"Inserted row {job_id} as a signed-in user: {prompt!r}")
    with ProgressView() as view:
        while True:
            record = await _next_change(changed, client, job_id)
            if record.get("id") == job_id:
                view.show(JobState.of_row(record))
            if record.get("id") == job_id and record.get("status") in ENDED:
                break
    return await _row(client, job_id)


async def _cancel_left_overs(client: AsyncClient) -> None:
    """Jobs of a demo that was interrupted: the worker would do them before this one."""
    left = await client.table(TABLE).select("id").in_("status", ["pending", "processing"]).execute()
    for row in left.data:
        await client.rpc("cancel_workflow_job", {"p_job": _text(row, "id")}).execute()


async def _insert(client: AsyncClient, prompt: str) -> str:
    try:
        inserted = await client.table(TABLE).insert({"prompt": prompt}).execute()
    except APIError as error:
        raise RefusedPromptError(refusal(str(error.message)) or f"the prompt was refused: {error.message}") from error
    return _text(inserted.data[0], "id")


async def _next_change(changed: asyncio.Queue[JsonObject], client: AsyncClient, job_id: str) -> JsonObject:
    """The next event; when none comes for long, the row itself, since an event is only a hint."""
    try:
        return await asyncio.wait_for(changed.get(), PATIENCE)
    except TimeoutError:
        row = await _row(client, job_id)
        if row["status"] not in ENDED:
            raise DevStackError(f"job {job_id} stands still in {row['current_phase']}; see the worker's log") from None
        return row


async def _row(client: AsyncClient, job_id: str) -> JsonObject:
    rows: Any = (await client.table(TABLE).select("*").eq("id", job_id).execute()).data
    return dict(rows[0])


def _text(row: Any, key: str) -> str:
    return str(row[key])
