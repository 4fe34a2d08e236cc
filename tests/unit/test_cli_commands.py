"""The commands without a server: help with examples, usage errors, and `validate`, which needs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from consumer.cli import main
from consumer.cli.common import parse_since
from consumer.sysexits import EX_CONFIG, EX_DATAERR, EX_NOINPUT, EX_USAGE
from tests.commands import consumer, settings_are
from tests.unit.handlers_kit import answer, job, slack, workflow_of

COMMANDS = sorted(main.commands)


@pytest.fixture
def valid() -> dict[str, Any]:
    return workflow_of(job(), answer(slack()))


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_are(monkeypatch, tmp_path, {})


def test_these_are_the_commands() -> None:
    assert COMMANDS == [
        "audit", "bench", "cancel", "completion", "config", "demo", "dev", "doctor", "eval", "health", "jobs", "pause",
        "poll", "process", "prune", "reconcile", "replay", "resume", "retry", "run", "show", "status", "submit", "unit",
        "validate", "watch", "workers",
    ]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_with_an_example_of_itself(name: str, flag: str) -> None:
    done = consumer(name, flag)
    assert done.exit_code == 0
    assert main.commands[name].callback.__doc__
    after = done.output.partition("Example:\n")[2]
    assert f"consumer {name}" in after.splitlines()[0], done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    options = [item for item in main.commands[name].params if isinstance(item, click.Option)]
    unexplained = [item.name for item in options if not item.help and not isinstance(item.type, click.Choice)]
    assert unexplained == []


def test_the_group_lists_every_command_with_a_sentence() -> None:
    output = consumer("--help").output
    for name in COMMANDS:
        (line,) = [line for line in output.splitlines() if line.strip().startswith(f"{name} ")]
        assert len(line.split()) > 3


def test_the_version_is_told() -> None:
    assert "version" in consumer("--version").output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "No such command"),
        (["submit"], "PROMPT"),
        (["submit", "x", "--mode", "destroy"], "'create', 'edit'"),
        (["submit", "x", "--config", "{"], "is not JSON"),
        (["submit", "x", "--config", "[1]"], "must be a JSON object"),
        (["submit", "x", "--current-workflow", "none.json"], "No such file"),
        (["status"], "JOB_ID"),
        (["cancel"], "JOB_ID"),
        (["retry"], "JOB_ID"),
        (["show"], "JOB_ID"),
        (["replay"], "JOB_ID"),
        (["show", "job_1", "--svg", "-", "--mermaid"], "one at a time"),
        (["show", "job_1", "--svg", "."], "is a directory"),
        (["audit", "--since", "yesterday"], "'--since': 'yesterday' is neither a duration nor a time. Write for ex"),
        (["audit", "--since", "24"], "is neither a duration nor a time"),
        (["audit", "--since", "-3h"], "is neither a duration nor a time"),
        (["audit", "--since", "9999999d"], "is neither a duration nor a time"),
        (["audit", "--since", "2026-02-30"], "is neither a duration nor a time"),
        (["audit", "--since", ""], "is neither a duration nor a time"),
        (["dev", "--port", "70000"], "70000"),
        (["validate", "none.json"], "No such file"),
    ],
)
def test_a_usage_error_names_what_is_wrong(arguments: list[str], word: str) -> None:
    done = consumer(*arguments)
    assert done.exit_code == EX_USAGE
    assert word in done.stderr
    assert "Traceback" not in done.output


def mistakes() -> Iterator[tuple[str, list[str]]]:
    """Every kind of wrong argument, for every command and option that can have it."""
    for name, command in sorted(main.commands.items()):
        arguments = [item for item in command.params if isinstance(item, click.Argument)]
        good = [GOOD.get(type(item.type).__name__, "job_1") for item in arguments if item.required]
        yield f"{name}: no such option", [name, *good, "--no-such-option"]
        yield f"{name}: one argument too many", [name, *(["job_1"] * len(arguments)), "job_2"]
        if good:
            yield f"{name}: no argument", [name]
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag and option.name not in ("help", "http"):
                flag = max(option.opts, key=len)
                yield f"{name}: {flag} without a value", [name, *good, flag]
                for bad in BAD.get(type(option.type).__name__, []):
                    yield f"{name}: {flag} {bad}", [name, *good, flag, bad]
                if option.name in ("since", "older_than"):
                    yield f"{name}: {flag} soon", [name, *good, flag, "soon"]


GOOD = {"Choice": "bash"}
BAD = {"Choice": ["nonsense", ""], "IntRange": ["many", "-1", "99999999999"], "UUIDParameterType": ["me"]}
MISTAKES = dict(mistakes())


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_argument_is_one_line_that_leads_to_the_help(arguments: list[str]) -> None:
    done = consumer(*arguments)
    (line,) = done.stderr.splitlines()
    assert (done.exit_code, done.stdout) == (EX_USAGE, ""), done.output
    assert line.startswith("consumer: ")
    assert line.endswith(f". See: consumer {arguments[0]} --help")


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"]])
def test_what_is_no_command_is_one_line(arguments: list[str]) -> None:
    done = consumer(*arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (EX_USAGE, 1)
    assert done.stderr.endswith("See: consumer --help\n")


NEEDING_SETTINGS = [["run"], ["submit", "x"], ["submit", "x", "--wait"], ["status", "job_1"], ["cancel", "job_1"],
                    ["retry", "job_1"], ["reconcile"], ["audit"], ["show", "job_1"], ["replay", "job_1"], ["jobs"],
                    ["prune"], ["bench"], ["config"], ["watch"]]  # fmt: skip


@pytest.mark.parametrize("arguments", NEEDING_SETTINGS)
def test_without_settings_each_line_names_one_variable(arguments: list[str]) -> None:
    done = consumer(*arguments)
    assert done.exit_code == EX_CONFIG
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [
        ["consumer", " SUPABASE_URL"],
        ["consumer", " SUPABASE_SERVICE_ROLE_KEY"],
    ]


@pytest.mark.parametrize("name", ["status", "cancel", "retry", "watch"])
@pytest.mark.parametrize("job_id", ["", "no such job", "x" * 65, "caf\udce9"])
def test_what_can_be_no_jobs_id_is_named_without_asking_the_database(name: str, job_id: str) -> None:
    done = consumer(name, job_id)
    assert done.exit_code == EX_NOINPUT
    assert done.stderr == f"consumer: there is no job {job_id!r}. Check the id.\n"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)), ("2w", timedelta(days=14)), ("999999w", timedelta(days=36_500)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)), ("2026-01-31T08:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00+01:00", datetime(2026, 1, 31, 7, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_since_takes_a_duration_or_a_time(text: str, meant: datetime | timedelta) -> None:
    (since,) = [item for item in main.commands["audit"].params if item.name == "since"]
    assert parse_since(click.Context(main.commands["audit"]), since, text) == meant


@pytest.mark.parametrize(("text", "word"), [("{", "is not JSON"), ("[]", "must hold a JSON object")])
def test_a_workflow_file_that_is_none_is_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "w.json").write_text(text)
    done = consumer("submit", "x", "--mode", "edit", "--current-workflow", "w.json")
    assert done.exit_code == EX_DATAERR
    assert done.stderr.startswith("consumer: --current-workflow: w.json")
    assert word in done.stderr


def test_a_valid_workflow_is_accepted_from_a_file_and_from_standard_input(
    tmp_path: Path, valid: dict[str, Any]
) -> None:
    (tmp_path / "w.json").write_text(json.dumps(valid))
    for done in (consumer("validate", "w.json"), consumer("validate", "-", stdin=json.dumps(valid))):
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr.endswith(": valid\n")


def test_violations_are_listed_one_per_line(valid: dict[str, Any]) -> None:
    valid["edges"] = []
    done = consumer("validate", "-", stdin=json.dumps(valid))
    assert done.exit_code == EX_DATAERR
    (line,) = done.stdout.splitlines()
    assert " ".join(line.split()) == (
        "UNREACHABLE_NODE /nodes/1 error: No trigger leads to slack_message_1. "
        "Connect an earlier step to slack_message_1, or remove it."
    )
    assert done.stderr.endswith(": 1 violation(s)\n")


def test_violations_as_json_are_data_for_programs(valid: dict[str, Any]) -> None:
    valid["nodes"][1]["type"] = "nonsense"
    done = consumer("validate", "-", "--json", stdin=json.dumps(valid))
    found = json.loads(done.stdout)
    assert done.exit_code == EX_DATAERR
    assert "UNKNOWN_NODE_TYPE" in {violation["code"] for violation in found}
    assert all(set(violation) == {"code", "pointer", "message", "fix", "severity"} for violation in found)


def test_warnings_are_listed_and_leave_the_workflow_valid(valid: dict[str, Any]) -> None:
    valid["nodes"][1]["config"]["colour"] = "red"
    done = consumer("validate", "-", stdin=json.dumps(valid))
    assert done.exit_code == 0
    assert done.stdout.split()[:3] == ["UNKNOWN_CONFIG_KEY", "/nodes/1/config/colour", "warning:"]
    assert done.stderr.endswith(": valid, 1 warning(s)\n")
    (found,) = json.loads(consumer("validate", "-", "--json", stdin=json.dumps(valid)).stdout)
    assert found["severity"] == "warning"


def test_errors_and_warnings_are_counted_apart(valid: dict[str, Any]) -> None:
    valid["nodes"][1]["config"] = {"colour": "red"}
    done = consumer("validate", "-", stdin=json.dumps(valid))
    assert done.exit_code == EX_DATAERR
    assert done.stderr.endswith(": 1 violation(s), 1 warning(s)\n")


def test_keys_of_the_file_do_not_steer_the_terminal(valid: dict[str, Any]) -> None:
    valid["\x1b[2Jgone"] = 1
    assert "\x1b" not in consumer("validate", "-", stdin=json.dumps(valid)).output


def test_no_violations_as_json_is_an_empty_list(valid: dict[str, Any]) -> None:
    assert json.loads(consumer("validate", "-", "--json", stdin=json.dumps(valid)).stdout) == []


@pytest.mark.parametrize(
    "text", ["null", "[]", "3", '"x"', "{}", '{"nodes": 3, "edges": {}}', "[" * 100_000, "\x00", ""]
)
def test_anything_at_all_is_judged_without_a_traceback(text: str) -> None:
    done = consumer("validate", "-", stdin=text)
    assert done.exit_code == EX_DATAERR
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("option", ["--config", "--current-workflow"])
def test_a_bottomless_json_is_a_mistake_like_any_other(tmp_path: Path, option: str) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    done = consumer("submit", "x", option, "[" * 100_000 if option == "--config" else "deep.json")
    assert isinstance(done.exception, SystemExit)
    assert "is not JSON" in done.stderr


def test_a_prompt_that_is_not_unicode_is_not_blamed_on_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_x")
    done = consumer("submit", "caf\udce9")
    assert done.exit_code != 0
    assert "SUPABASE_SERVICE_ROLE_KEY" not in done.stderr
