"""`consumer dev` as a process: its lines are a working .env, and nothing is left however it ends."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import ROOT, Process, run_consumer, running, running_worker
from tests.waiting import eventually

MODEL_PROCESS = ROOT / "devstack" / "model" / "process.py"
UP = "The embedded stack is up"


@pytest.fixture
def home() -> Iterator[Path]:
    """A data folder that PostgreSQL's user may enter, also when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="workflow-dev-test-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def dev(home: Path, *arguments: str) -> Iterator[Process]:
    with running("dev", "--home", str(home / "data"), "--port", "0", *arguments, env={}, cwd=home) as process:
        process.wait_for(UP)
        yield process


def offspring(process: Process) -> list[psutil.Process]:
    """The process and all that it started, now."""
    parent = psutil.Process(process.process.pid)
    return [parent, *parent.children(recursive=True)]


def model_processes(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that hold a model. PostgreSQL's come and go with its connections, so a mere count tells nothing."""
    return [member for member in family if str(MODEL_PROCESS) in _command(member)]


def _command(member: psutil.Process) -> list[str]:
    try:
        return member.cmdline()
    except psutil.NoSuchProcess:
        return []


def still_alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie that nobody has reaped does not."""
    return [member for member in family if member.is_running() and _status(member) != psutil.STATUS_ZOMBIE]


def _status(member: psutil.Process) -> str:
    try:
        return str(member.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def env_lines(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def load_a_model(lines: str) -> None:
    """Until the model server has a model in a process of its own."""
    body = {"model": "mistral:7b", "messages": [], "stream": False}
    httpx.post(f"{env_lines(lines)['OLLAMA_LOCAL_URL']}/api/chat", json=body, timeout=60).raise_for_status()


def test_its_lines_are_a_dotenv_file_for_the_worker_and_a_second_call_prints_them_again(home: Path) -> None:
    with dev(home, "--env") as stack:
        again = run_consumer("dev", "--env", "--home", str(home / "data"), env={}, cwd=home)
        assert (again.returncode, again.stderr) == (0, "")
        lines = env_lines(again.stdout)
        place = home / "worker"
        place.mkdir()
        (place / ".env").write_text(again.stdout)
        with running_worker({}, place):
            job = run_consumer("submit", "Log every web request", env={}, cwd=place)
            assert (job.returncode, job.stderr) == (0, "")
            assert job.stdout.startswith("job_")
        assert stack.stop(signal.SIGTERM) == 0
        assert stack.process.stdout is not None
        assert stack.process.stdout.read() == again.stdout
    assert set(lines) >= {"SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY", "OLLAMA_LOCAL_URL"}
    assert (home / "data" / "dev.env").stat().st_mode & 0o077 == 0


def test_its_keys_stay_the_same_and_its_rows_as_well(home: Path) -> None:
    seen = []
    for number in range(2):
        with dev(home, "--env"):
            lines = env_lines((home / "data" / "dev.env").read_text())
            user = {"apikey": lines["SUPABASE_ANON_KEY"], "authorization": f"Bearer {lines['SUPABASE_USER_TOKEN']}"}
            table = f"{lines['SUPABASE_URL']}/rest/v1/workflow_generation_jobs"
            httpx.post(table, headers=user, json={"prompt": f"row {number}"}).raise_for_status()
            seen.append((lines["SUPABASE_SERVICE_ROLE_KEY"], len(httpx.get(table, headers=user).json())))
    assert seen[0][0] == seen[1][0]
    assert [count for _, count in seen] == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_nothing_left(home: Path, number: signal.Signals) -> None:
    with dev(home) as stack:
        family = offspring(stack)
        assert any("postgres" in member.name() for member in family)
        assert stack.stop(number) == 0
        assert "Traceback" not in "\n".join(stack.lines)
        eventually("nothing of it runs", lambda: not still_alive(family), timeout=20)


def test_a_killed_stack_leaves_no_process_and_can_be_started_again(home: Path) -> None:
    with dev(home) as stack:
        before = offspring(stack)
        load_a_model((home / "data" / "dev.env").read_text())
        family = offspring(stack)
        assert (len(model_processes(before)), len(model_processes(family))) == (0, 1)
        assert any("postgres" in member.name() for member in family)
        stack.process.kill()
        stack.wait()
        eventually("nothing of it runs", lambda: not still_alive(family), timeout=30)
    with dev(home) as stack:
        assert stack.stop(signal.SIGINT) == 0


def test_a_signal_during_the_start_leaves_nothing(home: Path) -> None:
    with running("dev", "--home", str(home / "data"), "--port", "0", env={}, cwd=home) as stack:
        eventually("PostgreSQL starts", lambda: len(offspring(stack)) > 1 or stack.process.poll() is not None)
        family = offspring(stack)
        stack.stop(signal.SIGINT)
        eventually("nothing of it runs", lambda: not still_alive(family), timeout=20)
        assert "Traceback" not in "\n".join(stack.lines)


def test_a_start_by_a_shell_that_ignores_interrupts_can_still_be_terminated(home: Path) -> None:
    """What `consumer dev & …` in a script is: SIGINT is ignored there, SIGTERM must do."""
    command = [sys.executable, "-m", "consumer", "dev", "--home", str(home / "data"), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    assert process.stderr is not None
    assert UP in process.stderr.readline()
    process.terminate()
    assert process.wait(30) == 0
    process.stderr.close()
