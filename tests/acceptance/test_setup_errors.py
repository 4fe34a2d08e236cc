"""Every mistake of the one who sets it up: one clear line that says what to do, the right exit code, no traceback.

As processes. More of them in one process: tests/integration/test_environment_mistakes.py, and by settings:
tests/unit/test_settings_mistakes.py.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.postgres import free_port
from tests.processes import run_consumer
from tests.stacks import ThreadedStack, threaded_stack

EX_UNAVAILABLE, EX_CONFIG, EX_DATAERR = 69, 78, 65


@pytest.fixture(scope="module")
def project() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, as PostgreSQL's must when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="workflow-test-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def check(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"SUPABASE_URL": ""}, EX_CONFIG, ["SUPABASE_URL: is not set", "Set it to"]),
        ({"SUPABASE_URL": "http://127.0.0.1:9"}, EX_UNAVAILABLE, ["SUPABASE_URL: no usable answer", "running?"]),
    ],
    ids=["wrong", "away"],
)
def test_a_wrong_setting_stops_the_worker_with_one_clear_line(
    project: ThreadedStack, tmp_path: Path, change: dict[str, str], code: int, words: list[str]
) -> None:
    check(run_consumer("run", env=project.stack.env | change, cwd=tmp_path), code, *words)


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = str(taken.getsockname()[1])
        done = run_consumer("dev", "--port", port, "--home", str(folder / "home"), env={}, cwd=folder)
    check(done, EX_UNAVAILABLE, port, "choose another port")


def test_a_second_stack_on_the_same_folder_is_refused(project: ThreadedStack, tmp_path: Path) -> None:
    done = run_consumer("dev", "--port", "0", "--home", str(project.stack.home), env={}, cwd=tmp_path)
    check(done, EX_UNAVAILABLE, "another dev stack", "--home")


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_consumer("dev", "--port", "0", "--home", str(tmp_path / "file" / "home"), env={}, cwd=tmp_path)
    check(done, EX_UNAVAILABLE, "data folder", "Not a directory")


def test_a_full_disk_is_named(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        done = run_consumer("dev", "--port", "0", "--home", str(disk / "home"), env={}, cwd=folder)
    finally:
        subprocess.run(["umount", disk], check=True)
    check(done, EX_UNAVAILABLE, "No space left on device")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_data_folder_that_postgresql_cannot_enter_is_named(folder: Path) -> None:
    folder.chmod(0o700)
    done = run_consumer("dev", "--port", "0", "--home", str(folder / "home"), env={}, cwd=folder)
    check(done, EX_UNAVAILABLE, "nobody", "--home")


def test_a_broken_workflow_file_is_refused_with_its_violations(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(
        '{"name": "x", "summary": "y", "nodes": [], "edges": [], "requiredCredentials": []}'
    )
    done = run_consumer("validate", "w.json", env={}, cwd=tmp_path)
    assert done.returncode == EX_DATAERR
    assert "NO_NODES" in done.stdout
    check(run_consumer("validate", "-", env={}, cwd=tmp_path, stdin="{"), EX_DATAERR, "is not usable JSON")
