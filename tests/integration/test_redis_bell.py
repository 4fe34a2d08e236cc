"""Redis spreads the doorbells of new jobs: one idle worker claims. Whatever happens to Redis, every job is done once.

Whole workers, their real doorbells and a real Redis. No heartbeat comes in time; leases end where a test says so.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from consumer import redis_client
from consumer.redis_bell import Waits
from consumer.redis_client import CLOCK, RedisAway, RedisClient
from devstack.postgres import free_port
from tests.acceptance.conftest import hold, release, streaming
from tests.crew import CLAIM, Crew, crew
from tests.engine import JOBS, until
from tests.redis_server import RedisServer, redis_server
from tests.stacks import ThreadedStack

JOBS_EACH = 4
FOREVER = 3600.0
# Seconds for a call to a Redis that does not hang: a busy machine must not look like one that does.
PATIENT = 60.0


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(module_redis: RedisServer) -> RedisServer:
    module_redis.do("FLUSHALL")
    return module_redis


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "CLOCK", PATIENT)


async def claims_of(team: Crew, how_many: int = JOBS_EACH) -> int:
    """Claims asked for while so many jobs come one by one."""
    before = team.claims
    await team.one_by_one(how_many)
    return team.claims - before


def taken(redis: RedisServer) -> set[str]:
    """The jobs that are told to be taken."""
    keys = [key.decode() for key in redis.do("KEYS", "*:job:*")]
    return {key.rsplit(":", 1)[1] for key in keys if redis.do("GET", key) == b"taken"}


def sets(redis: RedisServer) -> int:
    """How often a key was written, or tried to be."""
    return int(redis.do("INFO", "commandstats").get("cmdstat_set", {}).get("calls", 0))


def was_done_once(stack: ThreadedStack) -> None:
    """Every job was claimed once and completed, and the history agrees with the rows."""
    assert stack.psql(f"select count(*) from {JOBS} where (status, attempt, retry_count) <> ('completed', 1, 0)") == "0"
    audit = "begin; set local role service_role; select public.audit_workflow_jobs()->'violation_count'; commit"
    assert stack.psql(audit) == "0"


async def test_a_new_job_wakes_one_idle_worker_and_without_redis_all(stack: ThreadedStack, redis: RedisServer) -> None:
    async with crew(stack) as team:
        assert await claims_of(team) >= JOBS_EACH * len(team.hands)
    async with crew(stack, redis.url, waits=Waits(deadline=3)) as team:
        await team.spreads()
        # one for the event, and one when the job is over, as after every job
        assert await claims_of(team) == 2 * JOBS_EACH
        assert sum(hand.redis.fallbacks for hand in team.hands) == 0
    was_done_once(stack)


async def test_a_burst_wakes_a_worker_for_each_job(stack: ThreadedStack, redis: RedisServer) -> None:
    async with crew(stack, redis.url, waits=Waits(deadline=FOREVER)) as team:
        await team.spreads()
        stack.call(hold(stack))
        before = team.claims
        jobs = await team.submit(len(team.hands))
        await until("every worker has one", lambda: len(team.busy) == len(team.hands))
        assert team.claims - before == len(jobs)
        stack.call(release(stack))
        await team.completed(*jobs)
    was_done_once(stack)


async def test_one_worker_with_many_slots_takes_a_burst_at_once(stack: ThreadedStack, redis: RedisServer) -> None:
    async with crew(stack, redis.url, size=1, worker_concurrency=8, waits=Waits(deadline=FOREVER)) as team:
        await team.spreads()
        stack.call(hold(stack))
        before = team.claims
        jobs = await team.submit(8)
        await until("all are in work", lambda: len(team.hands[0].worker.runner.running) == 8)
        assert team.claims - before == 1
        stack.call(release(stack))
        await team.completed(*jobs)


async def test_a_job_that_comes_during_a_claim_is_claimed_after_it(stack: ThreadedStack, redis: RedisServer) -> None:
    async with crew(stack, redis.url, size=1, waits=Waits(deadline=FOREVER)) as team:
        await team.spreads()
        (hand,) = team.hands
        gate = hand.net.hold_reply(CLAIM)
        hand.worker.bell.ring("manual")
        await gate.reached.wait()
        (job,) = await team.submit()
        await until("it is heard of", lambda: job in hand.redis._heard)
        gate.open.set()
        await team.completed(job)


async def test_a_busy_worker_leaves_a_new_job_to_an_idle_one(stack: ThreadedStack, redis: RedisServer) -> None:
    async with crew(stack, redis.url, size=2, waits=Waits(deadline=FOREVER, check=FOREVER)) as team:
        await team.spreads()
        redis.do("CONFIG", "RESETSTAT")
        stack.call(hold(stack))
        (first,) = await team.submit()
        await asyncio.to_thread(stack.call, streaming(stack))
        (busy,) = team.busy
        before = busy.claims
        await until("both have asked whether they are first, and one has told", lambda: sets(redis) == 3)
        (second,) = await team.submit()
        await until("the other has it", lambda: len(team.busy) == 2)
        await until("the second is told", lambda: taken(redis) == {first, second})
        # the idle one asked whether it is first, and told; the busy one did neither
        assert sets(redis) == 3 + 2
        assert busy.claims == before
        stack.call(release(stack))
        await team.completed(first, second)


async def test_a_job_whose_worker_was_first_and_does_not_claim_is_taken_by_another(
    stack: ThreadedStack, redis: RedisServer
) -> None:
    async with crew(stack, redis.url, size=3) as team:
        await team.spreads()
        gates = [hand.net.hold_request(CLAIM) for hand in team.hands]
        (job,) = await team.submit()
        await until("somebody is first", lambda: any(gate.reached.is_set() for gate in gates))
        (stuck,) = [gate for gate in gates if gate.reached.is_set()]
        for gate in gates:
            if gate is not stuck:
                gate.open.set()
        await team.completed(job)
        assert not stuck.open.is_set()
        stuck.open.set()
    was_done_once(stack)


def flushed(redis: RedisServer) -> None:
    redis.do("FLUSHALL")


def killed(redis: RedisServer) -> None:
    redis.kill()


def hung(redis: RedisServer) -> None:
    redis.signal(signal.SIGSTOP)


def full(redis: RedisServer) -> None:
    redis.do("CONFIG", "SET", "maxmemory", 1)


def mended(redis: RedisServer, trouble: Callable[[RedisServer], None]) -> None:
    if trouble is killed:
        redis.start()
    elif trouble is hung:
        redis.signal(signal.SIGCONT)
    elif trouble is full:
        redis.do("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize("trouble", [killed, hung, full], ids=lambda trouble: trouble.__name__)
async def test_redis_is_lost_in_mid_run_and_every_job_is_done_once_and_spreading_comes_back(
    stack: ThreadedStack, redis: RedisServer, trouble: Callable[[RedisServer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with crew(stack, redis.url, size=3) as team:
        await team.spreads()
        await team.completed(*await team.submit(3))
        if trouble is hung:
            monkeypatch.setattr(redis_client, "CLOCK", CLOCK)
        trouble(redis)
        try:
            jobs = await team.submit(3)
            await team.sees_redis_away()
            await team.completed(*jobs)
            await team.completed(*await team.submit(3))
        finally:
            mended(redis, trouble)
            monkeypatch.setattr(redis_client, "CLOCK", PATIENT)
        await team.spreads()
        assert await claims_of(team, 3) < 3 * len(team.hands)
        # no worker took a Redis for back that was of no use yet
        assert 1 <= sum(hand.redis.fallbacks for hand in team.hands) <= len(team.hands)
        assert [line for line in team.said if line.startswith("Redis is away")]
    was_done_once(stack)


async def test_an_event_that_waits_for_a_hung_redis_rings_when_its_clock_runs_out(
    stack: ThreadedStack, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with crew(stack, redis.url, size=1) as team:
        await team.spreads()
        monkeypatch.setattr(redis_client, "CLOCK", CLOCK)
        hung(redis)
        try:
            await team.completed(*await team.submit())
        finally:
            mended(redis, hung)
        assert team.hands[0].redis.fallbacks == 1


async def test_redis_forgets_everything_all_the_time_and_every_job_is_done_once(
    stack: ThreadedStack, redis: RedisServer
) -> None:
    async def forget() -> None:
        while True:
            await asyncio.to_thread(flushed, redis)

    async with crew(stack, redis.url, size=3) as team:
        await team.spreads()
        forgetting = asyncio.create_task(forget())
        await team.completed(*await team.submit(8), *await team.submit(), *await team.submit())
        forgetting.cancel()
        assert sum(hand.redis.fallbacks for hand in team.hands) == 0
    was_done_once(stack)


@pytest.mark.parametrize("value", ["taken", "won", "not ours"], ids=["taken", "won", "nonsense"])
async def test_what_redis_invents_about_a_job_cannot_keep_it_waiting(
    stack: ThreadedStack, redis: RedisServer, value: str
) -> None:
    async with crew(stack, redis.url, size=2, waits=Waits(deadline=0.1, lease=0.2)) as team:
        await team.spreads()
        (known,) = await team.submit()
        await team.completed(known)
        await team.rests()
        (key,) = [key for key in redis.do("KEYS", "*:job:*") if key.decode().endswith(known)]
        redis.do("SET", key.decode().replace(known, "chosen"), value)
        await asyncio.to_thread(stack.psql, f"insert into {JOBS} (id, prompt) values ('chosen', 'mine')")
        await team.completed("chosen")


async def test_redis_is_away_at_the_start_and_comes_later(stack: ThreadedStack, redis: RedisServer) -> None:
    redis.kill()
    try:
        async with crew(stack, redis.url, size=3) as team:
            await team.completed(*await team.submit(2))
            assert all(hand.redis.trouble for hand in team.hands)
            assert sum(hand.redis.fallbacks for hand in team.hands) == 0
            redis.start()
            await team.spreads()
            assert await claims_of(team, 3) < 3 * len(team.hands)
    finally:
        redis.kill()
        redis.start()


async def test_a_wrong_password_is_a_fallback_that_says_so_and_never_shows_it(
    stack: ThreadedStack, redis: RedisServer
) -> None:
    redis.do("CONFIG", "SET", "requirepass", "the right one")
    try:
        url = redis.url.replace("redis://", "redis://:the%20wrong%20one@")
        async with crew(stack, url, size=1) as team:
            await team.completed(*await team.submit())
            await until("it says why", lambda: any("password" in line for line in team.said))
            assert not [line for line in team.said if "wrong one" in line or "wrong%20one" in line]
            assert "wrong one" not in str(team.hands[0].worker.status.health().as_json())
            redis.do("CONFIG", "SET", "requirepass", "the wrong one", password="the right one")
            await team.spreads()
    finally:
        redis.kill()
        redis.start()


async def test_all_that_is_left_in_redis_goes_away_by_itself(stack: ThreadedStack, redis: RedisServer) -> None:
    async with crew(stack, redis.url, size=2) as team:
        await team.spreads()
        await team.one_by_one(2)
        keys = redis.do("KEYS", "*")
        assert len(keys) == 3
        assert all(key.startswith(b"workflow-consumer:{") for key in keys)
        assert all(0 < redis.do("TTL", key) <= 10 for key in keys)


async def test_a_worker_that_left_a_job_to_another_takes_it_when_the_lease_has_ended(
    stack: ThreadedStack, redis: RedisServer
) -> None:
    async with crew(stack, redis.url, size=2, waits=Waits(lease=1), lease_seconds=5, retry_delay_base=0.01) as team:
        await team.spreads()
        stack.call(hold(stack))
        (job,) = await team.submit()
        await until("one has it, and hangs", lambda: len(team.busy) == 1)
        (holder,) = team.busy
        await until("the other has it", lambda: [hand for hand in team.busy if hand is not holder])
        stack.call(release(stack))
        await team.completed(job)
        assert stack.psql(f"select worker_id <> '{holder.net.of(CLAIM)[0]['p_worker']}' from {JOBS}") == "t"


async def test_projects_that_share_a_redis_do_not_see_each_other(redis: RedisServer) -> None:
    one, other = (RedisClient(SecretStr(redis.url), project=f"http://{name}") for name in ("one", "other"))
    assert [await one.first("job"), await one.first("job"), await other.first("job")] == [True, False, True]
    await one.tell_taken(["job"])
    assert (await one.taken(["job", "more"]), await other.taken(["job", "more"])) == ({"job"}, set())
    await one.aclose()
    await other.aclose()


async def test_an_answer_that_is_not_to_the_question_is_a_redis_that_is_away() -> None:
    """As of a proxy that is out of step: no list for a list, and one too short."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                words = [await _word(reader) for _ in range(int((await reader.readuntil(b"\r\n"))[1:]))]
                writer.write(answers.pop(0) if words[0] == b"MGET" else b"+OK\r\n")
        writer.close()

    answers = [b"*0\r\n", b":1\r\n", b"$-1\r\n", b"*2\r\n$5\r\ntaken\r\n$-1\r\n"]
    async with await asyncio.start_server(talk, "127.0.0.1") as server:
        client = RedisClient(SecretStr(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"), project="mine")
        for _ in range(3):
            with pytest.raises(RedisAway):
                await client.taken(["job", "more"])
            await client.connect()
        assert await client.taken(["job", "more"]) == {"job"}
        await client.aclose()


async def _word(reader: asyncio.StreamReader) -> bytes:
    size = int((await reader.readuntil(b"\r\n"))[1:])
    return (await reader.readexactly(size + 2))[:-2]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis of a test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(here, critical=False).sign(key, hashes.SHA256())
    written = folder / "cert.pem", folder / "key.pem"
    written[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    written[1].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return written


async def test_tls_checks_who_answers(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key))
    url = f"rediss://127.0.0.1:{port}"
    with redis_server(tmp_path, *options, "--tls-auth-clients", "no"):
        known = RedisClient(SecretStr(f"{url}?ssl_ca_certs={cert}"), project="any")
        await known.connect()
        assert await known.first("job")
        await known.aclose()
        with pytest.raises(RedisAway, match="certificate"):
            await RedisClient(SecretStr(url), project="any").connect()
