"""`/health` in the ways in which a worker can be broken: it names the cause and the way out, and then is well again.

A composed worker over the real database, gateway and Realtime; the model is the instant stub, which a test makes sick.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.instant_model import InstantModel
from consumer import worker as worker_module
from consumer.app import build_ollama
from consumer.hosts import Place
from consumer.http import Face
from consumer.recovery import Ladder
from consumer.settings import load_settings
from consumer.worker import Worker
from devstack.keys import Keys
from schemas.catalog import Catalog
from tests.engine import JOBS, until
from tests.faulty import FaultyTransport, faulty_store
from tests.processes import running
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually
from tests.wall_clock import HERE, shifted

WORKERS = "public.workflow_workers"
RELOAD = "; notify pgrst, 'reload schema'"
HEARTBEAT, INSPECT = "heartbeat_workflow_worker", "inspect_workflow_schema"
ANALYZE = "mistral:7b"


class SickModel(InstantModel):
    """Has lost the models named in `missing`; while it is `hung`, no question gets an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: set[str] = set()
        self.hung = False

    async def _route(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/api/chat" and body["model"] in self.missing:
            text = json.dumps({"error": f"model '{body['model']}' not found"})
            writer.write(f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        elif path == "/api/chat" and self.hung and body.get("messages"):
            await asyncio.Event().wait()
        else:
            await super()._route(path, body, writer)


@pytest.fixture(scope="module")
def module_stack() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True, model=SickModel()) as stack:
        yield stack


@pytest.fixture
def stack(module_stack: ThreadedStack) -> ThreadedStack:
    module_stack.clear()
    return module_stack


@dataclass
class Patient:
    """A running worker with its HTTP face, on a stack that a test damages."""

    worker: Worker
    model: SickModel
    client: httpx.AsyncClient
    net: FaultyTransport

    async def health(self) -> dict[str, Any]:
        """What it says, with the status code as `code`."""
        answer = await self.client.get("/health")
        return {**answer.json(), "code": answer.status_code}

    async def says(self, *words: str) -> dict[str, Any]:
        """Its answer, once one of the reasons holds all these words."""
        found: dict[str, Any] = {}

        async def told() -> bool:
            found.update(await self.health())
            return any(all(word in reason for word in words) for reason in found["reasons"])

        try:
            await until(f"a reason with {words}", told)
        except AssertionError as error:
            raise AssertionError(f"{error}; its reasons were {found['reasons']}") from None
        assert found["code"] == 503
        assert found["status"] in ("degraded", "unhealthy")
        return found

    @asynccontextmanager
    async def deaf(self, stack: ThreadedStack) -> AsyncIterator[None]:
        """Realtime says nothing, which the canary tells soon: at other times a busy machine must not look deaf."""
        heartbeat, usual = self.worker.heartbeat, self.worker.heartbeat._rhythm
        heartbeat._rhythm = replace(usual, canary=1.0)
        beats = self.net.answered(HEARTBEAT)
        await until("a beat that waits less", lambda: self.net.answered(HEARTBEAT) > beats + 1)
        stack.stack.realtime.deaf = True
        try:
            yield
        finally:
            stack.stack.realtime.deaf = False
            heartbeat._rhythm = usual

    async def well(self) -> None:
        """Until it is healthy."""

        async def is_well() -> bool:
            return bool((await self.health())["code"] == 200)

        try:
            await until("it is healthy", is_well)
        except AssertionError as error:
            raise AssertionError(f"{error}; its reasons are {(await self.health())['reasons']}") from None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What waits for seconds by design waits for less, and no `.env` is about."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker_module, "Ladder", partial(Ladder, first_pause=0.05, longest_pause=0.1, look=0.01))


@asynccontextmanager
async def working(stack: ThreadedStack) -> AsyncIterator[Patient]:
    """A worker, from its start on."""
    assert isinstance(stack.instant, SickModel)
    key = stack.stack.keys.secret
    settings = load_settings(
        supabase_url=stack.stack.url, supabase_service_role_key=key, worker_id="patient",
        ollama_local_url=stack.stack.ollama_url, ollama_first_token_timeout=0.3,
    )  # fmt: skip
    settings = settings.model_copy(update={"heartbeat_seconds": 0.2})  # less than a user may set
    net = FaultyTransport()
    store = await faulty_store(stack.stack.url, key, net, worker_id="patient")
    ollama, face = build_ollama(settings), Face(Place("127.0.0.1", 0), None)
    digests = dict.fromkeys(settings.models.values(), "0" * 64)
    worker = Worker(settings, store, ollama, digests, Catalog.load(), face.observer)
    url = f"http://{face.place}"
    async with (
        face.serving(worker.status, store, Catalog.load()),
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        work = asyncio.create_task(worker.run())
        try:
            yield Patient(worker, stack.instant, client, net)
        finally:
            for _ in range(2):
                worker.stop()
            await asyncio.wait({work}, timeout=30)
            await ollama.aclose()
            await store.aclose()


@pytest.fixture
async def patient(stack: ThreadedStack, quick: None) -> AsyncIterator[Patient]:
    """A worker that is well; at the end it must be so again."""
    async with working(stack) as patient:
        await patient.well()
        yield patient
        await patient.well()


async def test_a_database_that_is_away(stack: ThreadedStack, patient: Patient) -> None:
    stack.call(stack.stack.gateway.stop())
    try:
        said = await patient.says("database: SUPABASE_URL: no usable answer", stack.stack.url, "running?")
        assert said["status"] == "unhealthy"
    finally:
        stack.call(stack.stack.gateway.start())


async def test_a_key_that_was_rotated_while_the_worker_ran(stack: ThreadedStack, patient: Patient) -> None:
    keys, old = stack.stack.keys, stack.stack.keys.secret
    object.__setattr__(keys, "secret", Keys.fresh().secret)
    try:
        said = await patient.says("database: SUPABASE_SERVICE_ROLE_KEY", "refuses this key. Copy the secret key")
        assert said["status"] == "unhealthy"
        assert old not in json.dumps(said)
    finally:
        object.__setattr__(keys, "secret", old)


async def test_a_schema_that_is_gone(stack: ThreadedStack, patient: Patient) -> None:
    stack.psql(f"alter function public.{HEARTBEAT} rename to gone" + RELOAD)
    try:
        said = await patient.says("lacks the consumer's tables and functions", "supabase db push")
        assert said["status"] == "unhealthy"
    finally:
        stack.psql(f"alter function public.gone rename to {HEARTBEAT}" + RELOAD)


@pytest.mark.parametrize(
    ("schema", "name", "words"),
    [
        ("workflow_private", "take", ["schema: the database lacks 17: function workflow_private.take/5. Apply"]),
        ("public", INSPECT, ["schema: the database is of an older version than this program. Apply the migrations"]),
    ],
)
async def test_a_schema_that_is_older_is_named_from_the_start_on_until_it_is_brought_up(
    stack: ThreadedStack, schema: str, name: str, words: list[str]
) -> None:
    stack.psql(f"alter function {schema}.{name} rename to gone" + RELOAD)
    try:
        async with working(stack) as patient:
            await patient.says(*words)
            stack.psql(f"alter function {schema}.gone rename to {name}" + RELOAD)
            await patient.well()
    finally:
        back = f"alter function {schema}.gone rename to {name}"
        stack.psql(f"do $$ begin {back}; exception when undefined_function then null; end $$" + RELOAD)


async def test_a_claim_that_the_database_refuses(stack: ThreadedStack, patient: Patient) -> None:
    stack.psql("alter function public.claim_workflow_jobs rename to gone" + RELOAD)
    try:
        stack.submit("unclaimable ")
        said = await patient.says("claims: ", "lacks the consumer's tables and functions", "supabase db push")
        assert said["status"] == "degraded"
    finally:
        stack.psql("alter function public.gone rename to claim_workflow_jobs" + RELOAD)
    await until("the job is done", lambda: stack.statuses() == {"completed": 1})


async def test_a_publication_without_our_table(stack: ThreadedStack, patient: Patient) -> None:
    stack.psql(f"alter publication supabase_realtime drop table {JOBS}")
    stack.call(stack.stack.realtime.drop_all(1012))
    try:
        mend = f"publication: supabase_realtime lacks {JOBS}. Run: alter publication supabase_realtime add table"
        said = await patient.says(mend)
        assert said["status"] == "degraded"
        assert any(reason.startswith("realtime: ") for reason in said["reasons"])
    finally:
        stack.psql(f"alter publication supabase_realtime add table {JOBS}")


async def test_a_realtime_that_is_deaf(stack: ThreadedStack, patient: Patient) -> None:
    async with patient.deaf(stack):
        said = await patient.says(
            "realtime: jobs are found by heartbeat only", "the canary did not come", "consumer doctor"
        )
        assert (said["status"], said["database"]["ok"]) == ("degraded", True)


async def test_a_model_that_is_missing(stack: ThreadedStack, patient: Patient) -> None:
    patient.model.missing.add(ANALYZE)
    try:
        stack.submit("without a model ")
        said = await patient.says("model server: no job is taken", ANALYZE, f"run: ollama pull {ANALYZE}")
        assert said["model_server"]["state"] == "given up"
    finally:
        patient.model.missing.clear()


async def test_a_model_that_hangs(stack: ThreadedStack, patient: Patient) -> None:
    patient.model.hung = True
    try:
        stack.submit("hanging ")
        await patient.says("model server: ", "gives no token within 0.3 s", "restart the model server")
    finally:
        patient.model.hung = False


async def test_a_circuit_that_is_open_because_the_model_server_is_away(stack: ThreadedStack, patient: Patient) -> None:
    stack.call(patient.model.__aexit__(None, None, None))
    try:
        stack.submit("early ")
        said = await patient.says("model server: ", "does not answer", "start it or set OLLAMA_LOCAL_URL")
        assert (said["status"], said["model_server"]["ok"]) == ("degraded", False)
    finally:
        stack.call(patient.model.__aenter__())


@pytest.mark.parametrize("code", ["53100", "25006"])
async def test_a_database_whose_disk_is_full(stack: ThreadedStack, patient: Patient, code: str) -> None:
    stack.psql(f"""
        create function public.full_disk() returns trigger language plpgsql as
        $$ begin raise exception 'could not extend file: No space left on device' using errcode = '{code}'; end $$;
        create trigger full_disk before insert or update on {WORKERS}
          for each row execute function public.full_disk()""")
    try:
        said = await patient.says(f"cannot write ({code}): its disk is full or it is read only", "add disk space")
        assert said["status"] == "unhealthy"
    finally:
        stack.psql("drop function public.full_disk cascade")


async def test_a_worker_that_drains(stack: ThreadedStack) -> None:
    async with working(stack) as patient:
        await patient.well()
        stack.call(_hold(patient.model))
        stack.submit("held ")
        await until("it is in work", patient.model.began.is_set)
        patient.worker.stop()
        said = await patient.says("draining: no job is taken any more", "30 s", "Start another worker")
        assert (said["status"], said["draining"], said["slots"]["in_work"]) == ("degraded", True, 1)
        row = f"select info -> 'health' ->> 'status' from {WORKERS}"
        await until("its row says so", lambda: stack.psql(row) == "degraded")
        stack.call(_let_go(patient.model))


async def test_a_worker_that_is_paused(stack: ThreadedStack, patient: Patient) -> None:
    stack.psql("select public.pause_workflow_workers('patient', true)")
    try:
        said = await patient.says("paused: no job is taken until: consumer resume patient")
        assert (said["status"], said["paused"]) == ("degraded", True)
    finally:
        stack.psql("select public.pause_workflow_workers('patient', false)")


async def _hold(model: SickModel) -> None:
    model.hold = asyncio.Event()
    model.began.clear()


async def _let_go(model: SickModel) -> None:
    assert model.hold is not None
    model.hold.set()
    model.hold = None


@pytest.mark.skipif(HERE != ("Linux", "x86_64"), reason="libfaketime's wheel holds a library for that alone")
@pytest.mark.parametrize(("by", "code", "words"), [("+7h", 503, "ahead of"), ("-60s", 200, "behind")])
def test_a_clock_that_is_off(stack: ThreadedStack, tmp_path: Path, by: str, code: int, words: str) -> None:
    env = stack.stack.env | shifted(by)
    with running("run", "--http", "127.0.0.1:0", env=env, cwd=tmp_path) as process:
        url = process.address()
        process.wait_for("ready: waiting for jobs")

        def told() -> str:
            answer = httpx.get(f"{url}/health", trust_env=False)
            said = answer.json()
            found = said["reasons"] if code == 503 else said["warnings"]
            return next((line for line in found if answer.status_code == code and line.startswith("clock: ")), "")

        eventually("it names its clock", told)
        assert f" s {words} the database. Set it: timedatectl" in told()


async def test_a_look_that_had_no_answer_is_taken_again(stack: ThreadedStack) -> None:
    async with working(stack) as patient:
        patient.net.refuse(INSPECT)
        patient.worker.inspector.look()
        looks = len(patient.net.of(INSPECT))
        await until("it was looked at again", lambda: len(patient.net.of(INSPECT)) > looks + 1)
        await patient.well()


async def test_while_all_is_well_the_schema_is_looked_at_once(stack: ThreadedStack, patient: Patient) -> None:
    beats = patient.net.answered(HEARTBEAT)
    await until("two more heartbeats", lambda: patient.net.answered(HEARTBEAT) > beats + 1)
    assert len(patient.net.of(INSPECT)) == 1
    async with patient.deaf(stack):
        await patient.says("realtime: ")
    await patient.well()
    assert len(patient.net.of(INSPECT)) == 2


async def test_another_process_of_the_same_name(stack: ThreadedStack, patient: Patient) -> None:
    url, key = stack.stack.url, stack.stack.keys.secret
    async with aclosing(await faulty_store(url, key, FaultyTransport(), worker_id="patient")) as twin:

        async def told() -> bool:
            await twin.heartbeat({"hostname": "gpu-2", "pid": 4711})
            said = await patient.health()
            return any("process 4711 on gpu-2 is called 'patient', too" in each for each in said["warnings"])

        await until("it tells of the other one", told)

    async def forgotten() -> bool:
        return not (await patient.health())["warnings"]

    await until("the other one is forgotten", forgotten)
