"""jobs, prune, config and completion as processes: tables for people, JSON for programs, quiet when nobody listens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.sysexits import EX_DIFFERENT, EX_IOERR
from tests.commands import consumer as run
from tests.commands import settings_are
from tests.processes import environment
from tests.stacks import ThreadedStack
from tests.terminal import on_a_terminal

OLD = """
    insert into public.workflow_generation_jobs
      (id, prompt, status, created_at, started_at, finished_at, error_message, error_details)
    select 'old' || n, 'Mail me', 'failed', at, at + interval '2 s', at + interval '92 s', 'It took too long.',
      '{{"code": "MODEL_TIMEOUT"}}'
    from generate_series(1, {}) n, lateral (select now() - interval '30 days' + n * interval '1 s' as at) t"""


class Consumer:
    """`consumer …` with the stack's settings: in this process, where only what it prints matters, or in a shell."""

    def __init__(self, stack: ThreadedStack, cwd: Path) -> None:
        self.env = stack.stack.env
        self.cwd = cwd

    def __call__(self, *arguments: str, **more: str) -> tuple[str, str]:
        """Standard output and error of a command that succeeds."""
        done = run(*arguments, env=more)
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    def json(self, *arguments: str, **more: str) -> Any:
        return json.loads(self(*arguments, "--json", **more)[0])

    def shell(self, line: str) -> tuple[list[str], str, str]:
        """A line for bash: the exit codes of its pipe, standard output, and error."""
        command = self.cwd / "consumer"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m consumer "$@"\n')
        command.chmod(0o755)
        script = f'exec 3>codes; PATH="$PWD:$PATH"\n{line}\necho "${{PIPESTATUS[@]}}" >&3'
        done = subprocess.run(
            ["bash", "-c", script], env=environment(self.env), cwd=self.cwd, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        return (self.cwd / "codes").read_text().split(), done.stdout, done.stderr


@pytest.fixture
def consumer(stack: ThreadedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    settings_are(monkeypatch, tmp_path, stack.stack.env)
    return Consumer(stack, tmp_path)


def test_jobs_are_listed_newest_first_in_aligned_columns(stack: ThreadedStack, consumer: Consumer) -> None:
    stack.psql(OLD.format(2), user="supabase_admin")
    [new] = stack.submit("Post \x1b[2J it ")
    table, words = consumer("jobs")
    head, *lines = table.splitlines()
    assert words == ""
    assert head.split()[:3] == ["job", "status", "step"]
    assert [line.split()[:2] for line in lines] == [[new, "pending"], ["old2", "failed"], ["old1", "failed"]]
    assert lines[0].endswith("Post it 1")
    assert lines[1].endswith("MODEL_TIMEOUT: It took too long.")
    assert "2.0 s   0:01:30" in lines[1]
    assert len({line.index(word) for line, word in zip(lines, ("pending", "failed", "failed"), strict=True)}) == 1


def test_jobs_are_found_by_status_by_user_and_since(stack: ThreadedStack, consumer: Consumer) -> None:
    stack.psql(OLD.format(3), user="supabase_admin")
    user_id, _ = stack.stack.user()
    [new] = stack.submit("Post it ")
    stack.psql(f"update public.workflow_generation_jobs set user_id = '{user_id}' where id = '{new}'", "supabase_admin")

    def found(*arguments: str) -> Any:
        return [job["id"] for job in consumer.json("jobs", *arguments)]

    assert found("--status", "failed", "--limit", "2") == ["old3", "old2"]
    assert found("--since", "1h") == found("--user", user_id) == [new]
    table, words = consumer("jobs", "--limit", "1")
    assert len(table.splitlines()) == 2
    assert words == "consumer: the newest 1; more with --limit\n"


def test_no_jobs_are_an_empty_list_and_a_word(consumer: Consumer) -> None:
    assert consumer("jobs") == ("", "consumer: no such jobs\n")
    assert consumer.json("jobs") == []


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["colour", "NO_COLOR"])
def test_on_a_terminal_the_table_has_colours_unless_they_are_unwanted(
    stack: ThreadedStack, consumer: Consumer, env: dict[str, str], coloured: bool
) -> None:
    stack.psql(OLD.format(1), user="supabase_admin")
    code, shown = on_a_terminal("jobs", env={**stack.stack.env, **env}, cwd=consumer.cwd)
    assert code == 0
    assert "failed" in shown
    assert ("\x1b[31m" in shown) is coloured


def test_prune_counts_first_then_deletes_what_is_old(stack: ThreadedStack, consumer: Consumer) -> None:
    stack.psql(OLD.format(5), user="supabase_admin")
    [new] = stack.submit("Post it ")
    assert consumer("prune", "--dry-run") == ("5 job(s) would be deleted\n", "")
    assert consumer("prune", "--older-than", "60d") == ("0 job(s) deleted\n", "")
    assert consumer("prune", "--limit", "2") == (
        "2 job(s) deleted\n", "consumer: there may be more; run it again\n",
    )  # fmt: skip
    left = consumer.json("jobs")
    assert [job["id"] for job in left] == [new, "old5", "old4", "old3"]
    counted = consumer.json("prune", "--dry-run", "--limit", "1")
    assert counted == {"pruned": 0, "found": 1, "dry_run": True}
    done = consumer.json("prune")
    assert done == {"pruned": 3, "found": 3, "dry_run": False}
    assert stack.statuses() == {"pending": 1}


@pytest.mark.parametrize("form", ["", "--json"], ids=["text", "json"])
def test_a_reader_who_leaves_ends_a_command_quietly(stack: ThreadedStack, consumer: Consumer, form: str) -> None:
    stack.psql(OLD.format(500), user="supabase_admin")
    codes, shown, words = consumer.shell(f"consumer jobs {form} --limit 500 2>words | true")
    assert (codes, shown, words) == ([str(EX_DIFFERENT), "0"], "", "")
    assert (consumer.cwd / "words").read_text() == ""


def test_a_reader_who_leaves_the_doctor_hears_no_traceback(consumer: Consumer) -> None:
    codes, _, words = consumer.shell("SUPABASE_URL= consumer doctor --no-load 2>words | true")
    assert (codes, words) == ([str(EX_DIFFERENT), "0"], "")
    assert (consumer.cwd / "words").read_text() == ""


@pytest.mark.parametrize("command", ["jobs --json", "config", "submit x"])
def test_a_closed_standard_output_is_no_error(stack: ThreadedStack, consumer: Consumer, command: str) -> None:
    stack.submit("Post it ")
    assert consumer.shell(f"consumer {command} >&-") == (["0"], "", "")


def test_a_full_disk_behind_standard_output_is_one_line(consumer: Consumer) -> None:
    codes, _, words = consumer.shell("consumer config >/dev/full")
    assert codes == [str(EX_IOERR)]
    assert words == "consumer: standard output: No space left on device. Write it somewhere else.\n"


def test_config_tells_what_holds_and_from_where_without_secrets(stack: ThreadedStack, consumer: Consumer) -> None:
    (consumer.cwd / ".env").write_text("WORKER_CONCURRENCY=3\nLEASE_SECONDS=30\nWORKER_API_TOKEN=a-very-secret-token\n")
    found, (table, _) = consumer.json("config", LEASE_SECONDS="40"), consumer("config", LEASE_SECONDS="40")
    for secret in (stack.stack.keys.secret, "a-very-secret-token"):
        assert secret not in table + json.dumps(found)
    assert found["WORKER_CONCURRENCY"] == {"value": 3, "source": ".env"}
    assert found["LEASE_SECONDS"] == {"value": 40, "source": "environment"}
    assert found["JOB_TIMEOUT"] == {"value": 1800, "source": "default"}
    assert found["WORKER_API_TOKEN"] == {"value": "(hidden)", "source": ".env"}
    assert found["REDIS_URL"] == {"value": None, "source": "default"}
    lines = [line.split() for line in table.splitlines()]
    assert ["LEASE_SECONDS", "40", "environment"] in lines
    assert ["PULL_MISSING", "false", "default"] in lines


def test_the_shell_completes_commands_options_and_values(consumer: Consumer) -> None:
    asked = """
        eval "$(consumer completion bash)"
        complete_with() {
          COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _consumer_completion consumer; echo "${COMPREPLY[@]}"
        }
        complete_with consumer pru; complete_with consumer jobs --status fa"""
    codes, shown, words = consumer.shell(asked)
    assert (codes, shown.splitlines(), words) == (["0"], ["prune", "failed"], "")
