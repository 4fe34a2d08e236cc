"""Jobs watched live by processes of their own: every change, without a poll, to the job's end or to Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.sysexits import EX_DATAERR, EX_INTERRUPTED, EX_NOINPUT
from tests.acceptance.conftest import hold, release, streaming
from tests.processes import Process, environment, run_consumer, running, running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"


def said(process: Process, pattern: str) -> str:
    """Read its standard output on until a line holds `pattern`."""
    assert process.process.stdout is not None
    for line in process.process.stdout:
        if re.search(pattern, line):
            return line.rstrip("\n")
    raise AssertionError(f"it ended before {pattern!r}: {process.lines}")


def rest(process: Process) -> list[str]:
    assert process.process.stdout is not None
    return process.process.stdout.read().splitlines()


def claim(stack: ThreadedStack) -> None:
    stack.psql("select public.claim_workflow_jobs('by-hand', 1)")


def renew(stack: ThreadedStack, job_id: str, attempt: int, nodes: list[str]) -> None:
    preview = json.dumps({"nodes": nodes})
    stack.psql(
        f"select public.renew_workflow_job('{job_id}', {attempt}, {len(nodes)}, p_progress => 40, "
        f"p_phase => 'workflow_generation', p_preview => $${preview}$$)"
    )


def settle(stack: ThreadedStack, job_id: str, attempt: int, outcome: str) -> None:
    stack.psql(f"select public.settle_workflow_job('{job_id}', {attempt}, {outcome})")


@pytest.fixture
def worker(stack: ThreadedStack, tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "worker").mkdir()
    with running_worker(stack.stack.env, tmp_path / "worker") as process:
        yield process


def test_nodes_are_listed_as_they_come_and_anew_in_a_new_attempt(stack: ThreadedStack, tmp_path: Path) -> None:
    [job_id] = stack.submit("By hand ")
    with running("watch", job_id, env=stack.stack.env, cwd=tmp_path) as watching:
        said(watching, "pending")
        claim(stack)
        assert said(watching, ".") == "  0 %  analyze"
        renew(stack, job_id, 1, ["Form", "\x1b[2JSlack"])
        assert said(watching, ".") == " 40 %  workflow_generation"
        assert [said(watching, "."), said(watching, ".")] == ["       node 1: Form", "       node 2: Slack"]
        renew(stack, job_id, 1, ["Form", "Slack", "Mail"])
        assert said(watching, ".") == "       node 3: Mail"
        settle(stack, job_id, 1, "'retry', p_retry_in => 0")
        said(watching, "pending")
        claim(stack)
        assert said(watching, ".") == "attempt 2"
        renew(stack, job_id, 2, ["Webhook"])
        assert said(watching, "node") == "       node 1: Webhook"
        settle(stack, job_id, 2, """'completed', p_result => '{"nodes": []}'""")
        assert rest(watching)[-1] == "100 %  completed"


def test_submit_waits_for_the_end_and_as_json_tells_each_change(
    stack: ThreadedStack, worker: Process, tmp_path: Path
) -> None:
    done = run_consumer("submit", "Log a line", "--wait", "--json", env=stack.stack.env, cwd=tmp_path)
    states = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len({state["id"] for state in states}) == 1
    assert states[-1]["status"] == "completed"
    percents = [state["progress_percentage"] for state in states]
    assert percents == sorted(percents)
    assert stack.statuses() == {"completed": 1}


def test_a_job_that_fails_ends_the_watching_with_its_reason(stack: ThreadedStack, tmp_path: Path) -> None:
    [job_id] = stack.submit("Never done ")
    with running("watch", job_id, env=stack.stack.env, cwd=tmp_path) as watching:
        said(watching, "pending")
        stack.psql(f"select public.cancel_workflow_job('{job_id}')")
        assert rest(watching) == ["  0 %  cancelled", "       CANCELLED: The job was cancelled."]
        assert watching.wait() == EX_DATAERR
        assert watching.lines == [f"consumer: job {job_id} is cancelled. Start it again: consumer retry {job_id}"]


def test_a_job_that_has_ended_already_is_shown_at_once(stack: ThreadedStack, tmp_path: Path) -> None:
    [job_id] = stack.submit("Never done ")
    stack.psql(f"select public.cancel_workflow_job('{job_id}')")
    done = run_consumer("watch", job_id, env=stack.stack.env, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (EX_DATAERR, "  0 %  cancelled")


def test_a_job_that_is_not_there_is_named(stack: ThreadedStack, tmp_path: Path) -> None:
    done = run_consumer("watch", "job_0_none", env=stack.stack.env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (EX_NOINPUT, "")
    assert done.stderr == "consumer: there is no job 'job_0_none'. Check the id.\n"


def test_all_jobs_are_watched_by_id_until_ctrl_c(stack: ThreadedStack, worker: Process, tmp_path: Path) -> None:
    stack.call(hold(stack))
    [first] = stack.submit("In work before ")
    stack.call(streaming(stack))
    with running("watch", env=stack.stack.env, cwd=tmp_path) as watching:
        said(watching, f"{first}  .*%")
        [second] = stack.submit("Comes later ")
        said(watching, f"{second}  .* pending")
        stack.call(release(stack))
        said(watching, f"{first}  100 %  completed")
        said(watching, f"{second}  100 %  completed")
        assert watching.stop(signal.SIGINT) == EX_INTERRUPTED
        assert watching.lines == ["consumer: interrupted"]


def test_a_lost_feed_is_joined_again_and_what_happened_meanwhile_is_shown(stack: ThreadedStack, tmp_path: Path) -> None:
    [job_id] = stack.submit("Waits ")
    with running("watch", job_id, env=stack.stack.env, cwd=tmp_path) as watching:
        said(watching, "pending")
        stack.call(stack.stack.gateway.stop())
        watching.wait_for("Realtime is lost: ")
        stack.psql(f"select public.cancel_workflow_job('{job_id}')")
        stack.call(stack.stack.gateway.start())
        said(watching, "cancelled")
        assert watching.wait() == EX_DATAERR


def test_watching_sends_no_request_while_nothing_happens(stack: ThreadedStack, tmp_path: Path) -> None:
    [job_id] = stack.submit("Waits ")
    before = stack.stack.gateway.requests
    with running("watch", job_id, env=stack.stack.env, cwd=tmp_path) as watching:
        said(watching, "pending")
        for percent in (10, 20, 30):
            stack.psql(
                f"update {JOBS} set progress_percentage = {percent}, updated_at = now() where id = '{job_id}'",
                user="supabase_admin",
            )
            said(watching, f"{percent} %")
    assert stack.stack.gateway.requests - before <= 1  # the first state


def test_on_a_terminal_there_is_a_bar_and_the_cursor_is_given_back(
    stack: ThreadedStack, worker: Process, tmp_path: Path
) -> None:
    screen, terminal = pty.openpty()
    submitted = subprocess.Popen(
        [sys.executable, "-m", "consumer", "submit", "Log a line", "--wait"], cwd=tmp_path, stdout=terminal,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=environment({**stack.stack.env, "TERM": "xterm", "COLUMNS": "100"}),
    )  # fmt: skip
    os.close(terminal)
    drawn = b""
    try:
        while piece := os.read(screen, 4096):
            drawn += piece
    except OSError:  # the other end is closed: how a terminal says that it is over
        pass
    assert submitted.wait(30) == 0
    text = drawn.decode()
    assert re.search(r"completed .*━━━.* 100 %", text)
    assert re.match(r"job_\w+\r\n", text)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_reader_who_leaves_ends_it_quietly(stack: ThreadedStack, tmp_path: Path) -> None:
    [job_id] = stack.submit("Waits ")
    with running("watch", job_id, env=stack.stack.env, cwd=tmp_path) as watching:
        said(watching, "pending")
        assert watching.process.stdout is not None
        watching.process.stdout.close()
        stack.psql(f"select public.cancel_workflow_job('{job_id}')")
        watching.wait()
        eventually("it has ended", lambda: watching.process.poll() is not None)
        assert "Traceback" not in "\n".join(watching.lines)
        assert "Exception" not in "\n".join(watching.lines)
