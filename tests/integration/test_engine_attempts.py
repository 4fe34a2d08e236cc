"""One attempt from claim to settled end: checkpoints, cancel, late ends, hung and absent models, repairs, figures."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from consumer.ollama import LOAD_SIGN_MS, Clocks
from consumer.runner import Limits
from tests.engine import ANALYZE, GENERATE, JOBS, ScriptedModel, engine, until
from tests.stacks import ThreadedStack

NO_NODES = json.dumps({"name": "x"})
UNKNOWN_TYPE = json.dumps(
    {
        "name": "x",
        "trigger": {"type": "webhook", "label": "Start", "config": {"method": "POST"}},
        "nodes": {"n1": {"type": "nonsense", "label": "What", "after": "trigger", "config": {}}},
    }
)
NO_CODE = UNKNOWN_TYPE.replace("nonsense", "function")


async def test_a_second_attempt_resumes_after_the_finished_phase(stack: ThreadedStack) -> None:
    model = ScriptedModel({GENERATE: ["this is not JSON"]})
    async with engine(stack, model) as parts:
        row = await parts.finished()
        assert (row["attempt"], row["retry_count"]) == (2, 1)
        assert await parts.events(row["id"]) == ["claimed", "retry", "claimed", "completed"]
    assert (len(model.questions(ANALYZE)), len(model.questions(GENERATE))) == (1, 2)
    assert "analyze" in row["checkpoint"]
    assert row["observability"]["attempts"] == 2
    assert set(row["observability"]["phases"]) == {"analyze", "generate"}
    assert row["error_details"] is None


async def handed_back_after_analyze(stack: ThreadedStack) -> str:
    """A job of which another worker has finished the first phase."""
    model = ScriptedModel()
    model.hold, model.holds = asyncio.Event(), GENERATE
    async with engine(stack, model, worker_id="first") as parts:
        job_id = await parts.submit()
        parts.ring()
        await until("generate has begun", lambda: model.questions(GENERATE))
        await until("analyze is stored", lambda: parts.net.answered("renew_workflow_job"))
        parts.dispatcher.stop()
        parts.runner.hand_back()
        await parts.dispatcher.drained()
        row = await parts.row(job_id)
    assert (row["retry_count"], row["worker_id"], list(row["checkpoint"])) == (0, "first", ["analyze"])
    return job_id


async def test_another_worker_resumes_what_the_first_handed_back(stack: ThreadedStack) -> None:
    job_id, model = await handed_back_after_analyze(stack), ScriptedModel()
    async with engine(stack, model, worker_id="second") as parts:
        parts.ring()
        row = await parts.ended(job_id)
    assert (row["attempt"], row["retry_count"], row["worker_id"]) == (2, 0, "second")
    assert (len(model.questions(ANALYZE)), len(model.questions(GENERATE))) == (0, 1)


@pytest.mark.parametrize("change", ["prompt", "digest"])
async def test_a_changed_input_drops_the_checkpoint(stack: ThreadedStack, change: str) -> None:
    job_id, model = await handed_back_after_analyze(stack), ScriptedModel()
    async with engine(stack, model, digest=("1" if change == "digest" else "0") * 64) as parts:
        if change == "prompt":
            await parts.db.execute(f"update {JOBS} set prompt = 'Something else, by mail' where id = $1", job_id)
        parts.ring()
        await parts.ended(job_id)
    assert (len(model.questions(ANALYZE)), len(model.questions(GENERATE))) == (1, 1)


async def test_a_model_that_was_pulled_anew_drops_the_checkpoint_once_it_is_loaded(stack: ThreadedStack) -> None:
    job_id, model = await handed_back_after_analyze(stack), ScriptedModel()
    model.digest, model.load_pause = "1" * 64, LOAD_SIGN_MS / 1000
    async with engine(stack, model) as parts:
        await parts.db.execute(f"update {JOBS} set run_at = now() + interval '1 h' where id = $1", job_id)
        await parts.finished()
        await parts.db.execute(f"update {JOBS} set run_at = now() where id = $1", job_id)
        parts.ring()
        await parts.ended(job_id)
    assert len(model.questions(ANALYZE)) == 2


async def test_a_cancel_is_obeyed_when_somebody_pokes(stack: ThreadedStack) -> None:
    async with engine(stack, lease_seconds=600) as parts:
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        await parts.model.began.wait()
        await parts.db.execute(f"update {JOBS} set cancel_requested_at = now() where id = $1", job_id)
        parts.runner.look()
        row = await parts.ended(job_id, "cancelled")
        await until("the model is free", lambda: parts.model.open_streams == 0)
    assert row["workflow_result"] is None
    assert row["error_details"]["code"] == "CANCELLED"


async def test_a_cancel_is_obeyed_at_the_next_renewal_without_a_poke(stack: ThreadedStack) -> None:
    async with engine(stack, lease_seconds=3) as parts:
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        await parts.model.began.wait()
        await parts.db.execute(f"update {JOBS} set cancel_requested_at = now() where id = $1", job_id)
        await parts.ended(job_id, "cancelled")


async def test_a_late_settle_changes_nothing_and_is_logged_as_refused(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        gate = parts.net.hold_request("settle_workflow_job")
        job_id = await parts.submit()
        parts.ring()
        await gate.reached.wait()
        await parts.db.execute(
            f"update {JOBS} set attempt = attempt + 1, worker_id = 'thief', lease_expires_at = now() + interval '1 h'"
            " where id = $1",
            job_id,
        )
        before = await parts.row(job_id)
        gate.open.set()
        await until("the attempt is over", lambda: parts.runner.running == [])
        assert parts.lines("job refused")
        assert not parts.lines("job completed")
        assert await parts.row(job_id) == before


async def test_a_lost_lease_stops_the_model_and_settles_nothing(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        await parts.model.began.wait()
        await parts.db.execute(f"update {JOBS} set attempt = attempt + 1, worker_id = 'thief' where id = $1", job_id)
        parts.runner.look()
        await until("the attempt is over", lambda: parts.runner.running == [])
        assert parts.net.of("settle_workflow_job") == []
        assert parts.lines("attempt ends unsettled")
        await until("the model is free", lambda: parts.model.open_streams == 0)


async def test_a_row_that_cannot_be_read_fails_honestly_and_the_next_one_is_done(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        unreadable = await parts.submit(execution_history=["not an object"])
        parts.ring()
        row = await parts.ended(unreadable, "failed")
        assert row["error_details"]["code"] == "INPUT_INVALID"
        assert row["error_details"]["field"] == "execution_history"
        assert "execution_history" in row["error_message"]
        assert (await parts.finished())["status"] == "completed"


@pytest.mark.parametrize(
    ("clocks", "named"),
    [(Clocks(between_tokens=0.2), "between_tokens"), (Clocks(total=0.2), "total")],
    ids=["between tokens", "total"],
)
async def test_a_hung_model_ends_in_retries_and_then_a_failure_that_names_the_clock(
    stack: ThreadedStack, clocks: Clocks, named: str
) -> None:
    async with engine(stack, clocks=clocks, max_retries=1) as parts:
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        row = await parts.ended(job_id, "failed")
        assert await parts.events(job_id) == ["claimed", "retry", "claimed", "failed"]
    details = row["error_details"]
    assert (details["code"], details["clock"], details["phase"]) == ("MODEL_TIMEOUT", named, "analyze")
    assert [entry["code"] for entry in details["history"]] == ["MODEL_TIMEOUT"]
    assert row["error_message"] == "The model took too long to answer."


async def test_retries_wait_doubled_delays_and_then_the_job_fails_with_code_message_and_history(
    stack: ThreadedStack,
) -> None:
    model = ScriptedModel({ANALYZE: ["this is not JSON"] * 4})
    async with engine(stack, model) as parts:
        job_id = await parts.submit()
        parts.ring()
        row = await parts.ended(job_id, "failed")
        assert await parts.events(job_id) == ["claimed", "retry"] * 3 + ["claimed", "failed"]
        query = "select (detail ->> 'retry_in')::float from public.workflow_job_events where kind = 'retry' order by id"
        waits = [wait / 0.01 for (wait,) in await parts.db.fetch(query)]
    assert all(least <= wait <= least * 1.25 for least, wait in zip((1, 2, 4), waits, strict=True)), waits
    details = row["error_details"]
    assert (row["retry_count"], row["attempt"], row["error_message"]) == (3, 4, "The model's answer was not usable.")
    assert (details["code"], details["phase"], details["retryable"]) == ("OUTPUT_NOT_JSON", "analyze", False)
    assert [(tried["attempt"], tried["code"]) for tried in details["history"]] == [
        (1, "OUTPUT_NOT_JSON"), (2, "OUTPUT_NOT_JSON"), (3, "OUTPUT_NOT_JSON"),
    ]  # fmt: skip


async def test_a_bound_on_the_whole_attempt_is_a_timeout_as_well(stack: ThreadedStack) -> None:
    async with engine(stack, max_retries=0, limits=Limits(attempt=0.3)) as parts:
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        row = await parts.ended(job_id, "failed")
    assert (row["error_details"]["code"], row["error_details"]["clock"]) == ("MODEL_TIMEOUT", "total")


async def test_an_invalid_workflow_is_repaired_by_the_model(stack: ThreadedStack) -> None:
    model = ScriptedModel({GENERATE: [NO_NODES]})
    async with engine(stack, model) as parts:
        row = await parts.finished()
    first, repair = model.questions(GENERATE)
    assert (row["attempt"], row["status"]) == (1, "completed")
    assert len(repair["messages"]) == len(first["messages"]) + 2
    assert repair["messages"][-2] == {"role": "assistant", "content": NO_NODES}
    assert "breaks rules" in repair["messages"][-1]["content"]
    assert repair["options"]["seed"] != first["options"]["seed"]
    assert row["observability"]["phases"]["generate"]["calls"] == 2
    assert row["observability"]["phases"]["generate"]["output_tokens"] == 4
    asked = [repair for repair in row["observability"]["repairs"] if repair["by"] == "model"]
    assert [(repair["code"], repair["pointer"]) for repair in asked] == [("NO_NODES", "/nodes")]
    assert asked[0]["fix"]


async def test_two_distinct_failures_are_repaired_and_a_third_fails_with_violations_and_history(
    stack: ThreadedStack,
) -> None:
    model = ScriptedModel({GENERATE: [NO_NODES, UNKNOWN_TYPE, NO_CODE] * 2})
    async with engine(stack, model, max_retries=1) as parts:
        job_id = await parts.submit()
        parts.ring()
        row = await parts.ended(job_id, "failed")
        assert not parts.lines("step generate resumed")
    details = row["error_details"]
    assert len(model.questions(GENERATE)) == 6
    assert len(model.questions(ANALYZE)) == 1
    assert (details["code"], details["phase"], details["retryable"]) == ("WORKFLOW_INVALID", "validation", False)
    assert [violation["code"] for violation in details["violations"]] == ["MISSING_REQUIRED_FIELD"]
    assert details["violations"][0]["pointer"] == "/nodes/1/config/code"
    assert [(entry["attempt"], entry["code"]) for entry in details["history"]] == [(1, "WORKFLOW_INVALID")]
    assert row["workflow_result"] is None
    assert {repair["by"] for repair in row["observability"]["repairs"]} == {"model"}


async def test_the_same_failure_is_repaired_only_once(stack: ThreadedStack) -> None:
    model = ScriptedModel({GENERATE: [NO_NODES] * 9})
    async with engine(stack, model, max_retries=0) as parts:
        job_id = await parts.submit()
        parts.ring()
        await parts.ended(job_id, "failed")
    assert len(model.questions(GENERATE)) == 2


async def test_the_figures_are_those_of_the_final_chunks(stack: ThreadedStack) -> None:
    model = ScriptedModel()
    model.final = {
        ANALYZE: {
            "total_duration": 5_000_000_000, "load_duration": 1_000_000_000, "prompt_eval_count": 100,
            "prompt_eval_duration": 500_000_000, "eval_count": 30, "eval_duration": 3_000_000_000,
        },
        GENERATE: {
            "total_duration": 9_000_000_000, "load_duration": 0, "prompt_eval_count": 400,
            "prompt_eval_duration": 2_000_000_000, "eval_count": 70, "eval_duration": 7_000_000_000,
        },
    }  # fmt: skip
    async with engine(stack, model) as parts:
        seen = (await parts.finished())["observability"]
    analyze, generate = seen["phases"]["analyze"], seen["phases"]["generate"]
    assert (seen["input_tokens"], seen["output_tokens"]) == (500, 100)
    assert (seen["inference_time_ms"], seen["prompt_time_ms"], seen["tokens_per_second"]) == (10_000, 2_500, 10)
    assert (analyze["output_tokens"], analyze["tokens_per_second"], analyze["model"]) == (30, 10, ANALYZE)
    assert (generate["output_tokens"], generate["inference_time_ms"], generate["model"]) == (70, 7_000, GENERATE)
    assert 1_000 <= seen["model_load_time_ms"] < 60_000
    assert seen["total_time_ms"] >= 14_000
    assert 0 < seen["time_to_first_token_ms"] == analyze["time_to_first_token_ms"]
    assert seen["model"] == f"{ANALYZE}, {GENERATE}"


async def test_progress_moves_with_tokens_within_its_band_and_never_back(stack: ThreadedStack) -> None:
    model = ScriptedModel(pieces=60)
    async with engine(stack, model) as parts:
        settling = parts.net.hold_request("settle_workflow_job")
        model.hold = asyncio.Event()
        pulse = asyncio.create_task(drip(model))
        job_id = await parts.submit()
        parts.ring()
        seen: list[tuple[str, int]] = []
        while not settling.reached.is_set():
            row = await parts.row(job_id)
            seen.append((row["current_phase"], row["progress_percentage"]))
            await asyncio.sleep(0.02)
        pulse.cancel()
        settling.open.set()
        row = await parts.ended(job_id)
    percents = [percent for _, percent in seen]
    assert percents == sorted(percents)
    assert any(0 < percent < 30 for phase, percent in seen if phase == "analyze"), seen
    assert any(30 < percent < 90 for phase, percent in seen if phase == "workflow_generation"), seen
    assert all(percent <= 30 for phase, percent in seen if phase == "analyze")
    assert row["progress_percentage"] == 100
    assert row["preview"]["nodes"]


async def drip(model: ScriptedModel) -> None:
    """Let one piece through every 30 ms, so that an answer takes longer than the second between two writes."""
    while True:
        await asyncio.sleep(0.03)
        held, model.hold = model.hold, asyncio.Event()
        if held is not None:
            held.set()


async def test_log_lines_are_stamped_in_order_within_the_jobs_own_time(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        row = await parts.finished()
    claimed, finished = (datetime.fromisoformat(row[name]) for name in ("started_at", "finished_at"))
    stamps = [datetime.fromisoformat(line["timestamp"]) for line in row["progress_logs"]]
    assert all(claimed <= stamp <= finished + timedelta(milliseconds=200) for stamp in stamps)
    assert stamps == sorted(stamps)
    assert all(stamp.utcoffset() is not None for stamp in stamps)


async def test_a_defect_of_a_handler_is_a_failed_attempt_and_not_the_end_of_the_worker(stack: ThreadedStack) -> None:
    def broken(mode: str) -> Any:
        raise KeyError(f"no handler for {mode}")

    async with engine(stack, handlers=broken, max_retries=0) as parts:
        job_id = await parts.submit()
        parts.ring()
        row = await parts.ended(job_id, "failed")
        assert row["error_details"]["code"] == "INTERNAL"
        assert "KeyError" not in row["error_message"]
        second = await parts.submit()
        parts.ring()
        await parts.ended(second, "failed")
