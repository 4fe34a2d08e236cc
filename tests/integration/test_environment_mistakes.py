"""What surrounds the worker, one part missing or wrong at a time: exit code and one line that names the way out.

In this process, but where the process is the point. As processes: tests/acceptance/test_setup_errors.py.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from consumer.ollama_client import OllamaClient
from devstack.keys import Keys
from tests.commands import consumer, settings_are
from tests.processes import environment
from tests.stacks import ThreadedStack, threaded_stack

EX_UNAVAILABLE, EX_CONFIG = 69, 78
WORKERS = "public.workflow_workers"
HEARTBEAT = "public.heartbeat_workflow_worker"
RELOAD = "; notify pgrst, 'reload schema'"
FULL = """
  create function public.full_disk() returns trigger language plpgsql as
  $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$;
  create trigger full_disk before insert or update on public.workflow_workers
    for each row execute function public.full_disk()"""


@pytest.fixture(scope="module")
def project() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture(autouse=True)
def settings(project: ThreadedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_are(monkeypatch, tmp_path, project.stack.env)


def one_line(code: int, *words: str, arguments: tuple[str, ...] = ("run",)) -> None:
    """What `consumer …` says, which must be one line, with all these words."""
    done = consumer(*arguments)
    # the embedded project logs into the same stream
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.exit_code, len(lines)) == (code, 1), done.output
    assert [word for word in words if word not in lines[0]] == [], lines[0]


DAMAGES: dict[str, tuple[str, str, int, list[str]]] = {
    "migrations are missing": (
        f"alter function {HEARTBEAT} rename to gone" + RELOAD,
        "alter function public.gone rename to heartbeat_workflow_worker" + RELOAD,
        EX_CONFIG, ["lacks the consumer's tables and functions", "supabase db push"],
    ),
    "rights are missing": (
        f"revoke execute on function {HEARTBEAT} from service_role",
        f"grant execute on function {HEARTBEAT} to service_role",
        EX_CONFIG, ["may not call the worker's functions", "apply all migrations"],
    ),
    "the database's disk is full": (
        FULL, "drop function public.full_disk cascade", EX_UNAVAILABLE,
        ["cannot write (53100): its disk is full or it is read only", "add disk space"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_in_the_database_stops_the_command(project: ThreadedStack, name: str) -> None:
    damage, mend, code, words = DAMAGES[name]
    project.psql(damage)
    try:
        one_line(code, *words)
    finally:
        project.psql(mend)


def unknown_host(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Nobody knows this name; other names are looked up as ever."""
    known = socket.getaddrinfo

    def look_up(name: str | bytes | None, *more: object, **named: object) -> object:
        if name in (host, host.encode()):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return known(name, *more, **named)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("variable", "way_out"), [("SUPABASE_URL", "Is the project running?"), ("OLLAMA_LOCAL_URL", "Is `ollama serve`")]
)
def test_without_a_name_server_the_host_is_named(variable: str, way_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown_host(monkeypatch, "nowhere.example")
    monkeypatch.setenv(variable, "http://nowhere.example:1")
    one_line(EX_UNAVAILABLE, variable, "http://nowhere.example:1", "name resolution", way_out)


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("SUPABASE_URL", lambda s: f"{s.stack.url}/rest/v1", EX_CONFIG, ["does not answer like a Supabase", "Check"]),
        ("SUPABASE_URL", lambda s: s.stack.ollama_url, EX_CONFIG, ["does not answer like a Supabase"]),
        ("SUPABASE_URL", lambda s: s.stack.url.replace("http", "https"), EX_UNAVAILABLE, ["no usable answer"]),
        ("OLLAMA_LOCAL_URL", lambda s: s.stack.url, EX_UNAVAILABLE, ["OLLAMA_LOCAL_URL", "no Ollama"]),
    ],
    ids=["a path too much", "no project", "TLS where there is none", "somebody else's server"],
)  # fmt: skip
def test_a_url_that_leads_elsewhere_is_named(
    project: ThreadedStack, monkeypatch: pytest.MonkeyPatch, variable: str,
    value: Callable[[ThreadedStack], str], code: int, words: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, value(project))
    one_line(code, variable, *words)


@pytest.mark.parametrize("key", ["sb_secret_wrong", Keys.fresh().service_role], ids=["secret key", "JWT"])
def test_another_projects_key_is_named(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
    one_line(EX_CONFIG, "SUPABASE_SERVICE_ROLE_KEY", "refuses this key")


def test_a_model_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_LOCAL_URL", "http://127.0.0.1:9")
    one_line(EX_UNAVAILABLE, "OLLAMA_LOCAL_URL", "ollama serve")


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        one_line(EX_UNAVAILABLE, "HTTP_LISTEN", place, "choose another port", arguments=("run", "--http", place))


def test_other_machines_may_reach_it_only_with_a_token_and_by_an_address_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in ("0.0.0.0:0", "[::]:0"):
        words = ("WORKER_API_TOKEN: is not set", place, "16 or more characters")
        one_line(EX_CONFIG, *words, arguments=("run", "--http", place))
    monkeypatch.setenv("WORKER_API_TOKEN", "not-a-secret-0123456789")
    place = "192.0.2.1:8001"
    one_line(EX_CONFIG, place, "Choose an address of this machine", arguments=("run", "--http", place))


def test_a_worker_that_did_not_begin_leaves_no_row_behind(
    project: ThreadedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATE_MODEL", "qwen9:1t")
    one_line(EX_CONFIG, "qwen9:1t", "ollama pull qwen9:1t")
    assert project.psql(f"select count(*) from {WORKERS}") == "0"


def process(*arguments: str, cwd: Path, close: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """`consumer …` as a shell starts it, with streams closed."""
    command = f'exec "$0" -m consumer "$@" {close}'
    return subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments], env=environment(env), cwd=cwd,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_dotenv_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("/proc/self/mem")
    one_line(EX_CONFIG, ".env: cannot be read (Input/output error). Let this user read it, or do without it.")


def test_in_a_bare_locale_and_a_folder_that_cannot_be_written_everything_can_be_said() -> None:
    done = process("doctor", "--no-load", cwd=Path("/proc"), LC_ALL="C", OLLAMA_LOCAL_URL="http://127.0.0.1:9")
    assert done.returncode == EX_CONFIG, done.stderr
    assert "SUPABASE_URL: is not set" in done.stdout
    assert "(sb_secret_… or the legacy service_role JWT)" in done.stdout
    assert "Traceback" not in done.stderr


def test_with_stderr_closed_the_exit_code_still_says_it(tmp_path: Path) -> None:
    done = process("run", cwd=tmp_path, close="2>&-")
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")


def test_a_model_server_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setenv("OLLAMA_LOCAL_URL", url)
        monkeypatch.setattr(OllamaClient.ask, "__defaults__", (None, 0.2))
        one_line(EX_UNAVAILABLE, "OLLAMA_LOCAL_URL", url, "did not answer within 0.2 s", "Is `ollama serve` running?")
