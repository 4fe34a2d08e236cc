"""The engine and a model server in trouble: what becomes of the jobs, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consumer.ollama import LOAD_SIGN_MS, Clocks
from consumer.recovery import Ladder
from consumer.steps import FREE_RETURNS
from tests.engine import ANALYZE, GENERATE, Engine, ScriptedModel, engine, until
from tests.stacks import ThreadedStack

QUICK = Ladder(canary=0.5, unload=5, look=0.01, first_pause=0.05, longest_pause=0.05)


class Sickly(ScriptedModel):
    """A model server that can lose a model, and on which a model can hang until it is unloaded; keeps every call."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: set[str] = set()
        self.refusals: dict[str, str] = {}
        self.hung: set[str] = set()
        self.incurable = self.stuck_loads = False
        self.calls: list[str] = []

    async def _route(self, path: str, body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        model = str(body.get("model", ""))
        unload = path == "/api/chat" and body.get("keep_alive") == 0
        self.calls.append(f"{path} {model}{' unload' if unload else ''}".strip())
        if model in self.missing:
            text = f'{{"error":"model \'{model}\' not found"}}'
            writer.write(f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            return
        if not unload and (refusal := self.refusals.get(model)):
            answer = json.dumps({"error": refusal})
            writer.write(f"HTTP/1.1 500 X\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())
            return
        if unload and not self.incurable:
            self.hung.discard(model)
        if model in self.hung and (body.get("messages") or (self.stuck_loads and not unload)):
            await asyncio.Event().wait()
        await super()._route(path, body, writer)


async def started(parts: Engine, prompt: str = "Log a line for every web request") -> str:
    job_id = await parts.submit(prompt)
    parts.ring()
    return job_id


async def test_while_the_model_server_is_away_no_job_is_taken_and_none_pays_for_it(stack: ThreadedStack) -> None:
    async with engine(stack, ladder=QUICK) as parts:
        await parts.model.__aexit__(None, None, None)
        first = await started(parts)
        await until("the circuit is open", lambda: parts.recovery.trouble)
        await until("the job is back", lambda: first not in parts.runner.running)
        second = await started(parts)
        assert parts.dispatcher.free_slots == 0
        assert not parts.dispatcher.idle, "or the heartbeat would take the feed for deaf"
        assert parts.recovery.trouble is not None
        assert "start it or set OLLAMA_LOCAL_URL" in parts.recovery.trouble.why
        assert (await parts.events(first), await parts.events(second)) == (["claimed", "released"], [])
        await parts.model.__aenter__()
        for job_id in (first, second):
            row = await parts.ended(job_id)
            assert row["retry_count"] == 0
        assert len(parts.lines("circuit open")) == 1
        assert len(parts.lines("works again")) == 1


async def test_a_model_that_is_gone_opens_the_circuit_with_the_pull_command_until_it_is_back(
    stack: ThreadedStack,
) -> None:
    model = Sickly()
    async with engine(stack, model, ladder=QUICK) as parts:
        model.missing.add(GENERATE)
        job_id = await started(parts)
        await until("the circuit is open", lambda: parts.recovery.trouble)
        assert parts.recovery.trouble is not None
        assert (parts.recovery.trouble.model, "ollama pull qwen2.5:7b" in parts.recovery.trouble.why) == (
            GENERATE,
            True,
        )
        model.missing.clear()
        row = await parts.ended(job_id)
        assert (row["retry_count"], len(model.questions(ANALYZE))) == (0, 1), "the analysis is not done twice"
    assert not [call for call in model.calls if "unload" in call], "nothing to be cured by that"


async def test_a_hung_model_is_cured_by_an_unload_and_the_job_is_tried_again(stack: ThreadedStack) -> None:
    model = Sickly()
    async with engine(stack, model, ladder=QUICK, clocks=Clocks(first_token=0.3)) as parts:
        model.hung.add(ANALYZE)
        model.load_pause = LOAD_SIGN_MS / 1000
        job_id = await started(parts)
        row = await parts.ended(job_id)
        assert parts.recovery.cures == 1
        # the job's first load, and the one after the unload, which the second attempt finds done
        assert (parts.bench.speeds[ANALYZE].loads, parts.recovery.loads) == (1, {ANALYZE: 1})
        assert parts.recovery.trouble is None
    assert row["retry_count"] == 1
    ladder = model.calls[2:]
    assert next(call for call in ladder if "unload" in call) == f"/api/chat {ANALYZE} unload"
    assert ladder.index("/api/version") < ladder.index("/api/ps") < ladder.index(f"/api/chat {ANALYZE} unload")


async def test_a_load_that_hangs_frees_the_lane_by_an_unload_and_costs_no_retry(stack: ThreadedStack) -> None:
    model = Sickly()
    async with engine(stack, model, ladder=QUICK, clocks=Clocks(load=0.3)) as parts:
        before = await parts.finished()
        assert before["status"] == "completed"
        model.hung.add(ANALYZE)
        model.stuck_loads = True
        row = await parts.finished()
        assert parts.recovery.cures == 1
    assert (row["retry_count"], row["attempt"]) == (0, 2)
    assert f"/api/chat {GENERATE} unload" in model.calls, "the loaded model is unloaded, not only the suspect"


async def test_what_nothing_cures_opens_the_circuit_and_says_which_model_and_why(stack: ThreadedStack) -> None:
    model = Sickly()
    async with engine(stack, model, ladder=QUICK, clocks=Clocks(load=0.3, first_token=0.3)) as parts:
        model.hung.add(ANALYZE)
        model.incurable = True
        job_id = await started(parts)
        await until("the circuit is open", lambda: parts.recovery.trouble)
        await until("the job is back", lambda: job_id not in parts.runner.running)
        trouble = parts.recovery.trouble
        assert trouble is not None
        assert trouble.model == ANALYZE
        assert "'mistral:7b' gives no token within 0.5 s" in trouble.why
        assert "restart the model server" in trouble.why
        assert await parts.events(job_id) == ["claimed", "released"]
        model.hung.clear()
        row = await parts.ended(job_id)
    assert row["retry_count"] == 0


async def test_a_request_that_hangs_a_healthy_model_pays_with_its_own_attempt_only(stack: ThreadedStack) -> None:
    async with engine(stack, ladder=QUICK, slots=2, batch=2, clocks=Clocks(between_tokens=0.3), max_retries=0) as parts:
        parts.model.hold, parts.model.holds = asyncio.Event(), GENERATE
        poison = await started(parts)
        row = await parts.ended(poison, "failed")
        assert (row["error_details"]["code"], row["error_details"]["clock"]) == ("MODEL_TIMEOUT", "between_tokens")
        assert (parts.recovery.trouble, parts.recovery.cures) == (None, 0)
        parts.model.hold = None
        assert (await parts.finished())["retry_count"] == 0


class Mortal(ScriptedModel):
    """Dies as a whole over one request, connections and all, and is restarted as by systemd."""

    deaths = 0

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        if "POISON" in json.dumps(body["messages"]):
            self.deaths += 1
            self._server.close()
            asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(self.__aenter__()))
            raise ConnectionError
        async for line in super()._stream(body):
            yield line


async def test_a_job_over_which_the_server_dies_each_time_fails_in_the_end(stack: ThreadedStack) -> None:
    model = Mortal()
    async with engine(stack, model, ladder=QUICK, max_retries=1) as parts:
        poison = await started(parts, "POISON: log a line for every web request")
        row = await parts.ended(poison, "failed")
        assert (await parts.finished())["retry_count"] == 0
    assert row["error_details"]["code"] == "MODEL_UNAVAILABLE"
    assert model.deaths == FREE_RETURNS + 2


@pytest.mark.parametrize(
    "text", ["server busy, please try again.  maximum pending requests exceeded", "model requires more system memory"]
)
async def test_models_of_other_clients_are_left_alone_when_nothing_hangs(stack: ThreadedStack, text: str) -> None:
    model = Sickly()
    async with engine(stack, model, ladder=QUICK, max_retries=0) as parts:
        model.refusals[GENERATE] = text
        model.loaded.add("llama3:8b")
        await started(parts)
        await until("the circuit is open", lambda: parts.recovery.trouble)
        await until("it was tried again", lambda: model.calls.count(f"/api/chat {GENERATE}") > 3)
        model.refusals.clear()
        await until("the circuit is closed", lambda: parts.recovery.trouble is None)
    assert "/api/chat llama3:8b unload" not in model.calls


async def test_a_suspect_gets_no_more_jobs(stack: ThreadedStack) -> None:
    model = Sickly()
    async with engine(stack, model, slots=2, ladder=Ladder(canary=3600), clocks=Clocks(first_token=0.3)) as parts:
        model.hung.add(ANALYZE)
        await started(parts)
        await until("the server is looked into", lambda: parts.recovery.suspicion)
        late = await started(parts)
        assert (parts.dispatcher.free_slots, parts.dispatcher.idle) == (0, False)
        assert await parts.events(late) == []
