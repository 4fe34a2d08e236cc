"""The systemd units: those of deploy/ are what `consumer unit` prints, systemd takes them, and they are shut tight."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.unit import Unit
from tests.commands import consumer
from tests.conftest import ROOT
from tests.debian import program
from tests.processes import environment

PROGRAM = Path("/opt/workflow-consumer/current/bin/consumer")
NAMES = {False: "workflow-consumer.service", True: "workflow-consumer@.service"}
# What `systemd-analyze security` may find (issue 6).
EXPOSURE = 1.5


@pytest.mark.parametrize("template", [False, True])
def test_the_unit_in_deploy_is_the_one_that_is_printed_for_the_installers_paths(template: bool) -> None:
    text = Unit(PROGRAM, template=template).text()
    assert (ROOT / "deploy" / NAMES[template]).read_text() == text
    said = consumer("unit", *["--template"] * template, "--program", str(PROGRAM)).stdout
    assert re.sub(r"^ProtectHome=.*$", "ProtectHome=yes", said, flags=re.MULTILINE) == text


@pytest.mark.parametrize("options", [[], ["--template"], ["--user", "daemon"]], ids=["one", "template", "user"])
def test_systemd_takes_it_without_a_word_and_finds_it_shut(tmp_path: Path, options: list[str]) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / NAMES["--template" in options]
    unit.write_text(consumer("unit", *options, "--program", "/usr/bin/true").stdout)
    verified = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    looked = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", looked.stdout)
    assert found and float(found[1]) <= EXPOSURE, looked.stdout + looked.stderr


def test_the_paths_and_the_user_of_this_installation_are_in_it() -> None:
    said = consumer(
        "unit", "--user", "flow", "--env-file", "/srv/env", "--key-file", "/srv/key", "--program", "/srv/consumer"
    )
    lines = said.stdout.splitlines()
    assert "DynamicUser=yes" not in lines
    assert {
        "User=flow", "EnvironmentFile=/srv/env", "LoadCredential=SUPABASE_SERVICE_ROLE_KEY:/srv/key",
        "ExecStart=/srv/consumer run",
    } <= set(lines)  # fmt: skip


def test_it_starts_the_command_that_printed_it_by_the_path_it_was_called_by(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(Path(sys.executable).parents[1])
    called = tmp_path / "current/bin/consumer"
    said = subprocess.run([called, "unit"], env=environment({}), capture_output=True, text=True, check=True)
    assert f"ExecStart={called} run" in said.stdout.splitlines()
    said = subprocess.run(
        [sys.executable, "-m", "consumer", "unit"], env=environment({}), capture_output=True, text=True, check=True
    )
    assert f"ExecStart={Path(sys.executable).parent}/consumer run" in said.stdout.splitlines()


@pytest.mark.parametrize(
    ("program", "needed", "hidden"),
    [("/opt/consumer", "/usr", "yes"), ("/home/me/consumer", "/usr", "read-only"), ("/opt/c", "/root/py", "read-only")],
)
def test_what_it_starts_is_never_hidden_from_it(program: str, needed: str, hidden: str) -> None:
    assert f"ProtectHome={hidden}\n" in Unit(Path(program), (Path(needed),)).text()


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--user", "a b", "is no name of a user"),
        ("--env-file", "/a b", "need quoting"),
        ("--program", "/%h", "quoting"),
    ],
)
def test_what_a_unit_cannot_hold_is_refused_by_name(option: str, value: str, word: str) -> None:
    done = consumer("unit", option, value)
    assert done.exit_code == 2
    assert option in done.stderr
    assert word in done.stderr


def test_two_workers_of_the_template_have_names_of_their_own_and_settings_of_their_own() -> None:
    lines = consumer("unit", "--template").stdout.splitlines()
    wanted = ["WORKER_ID=%l-%i", "/etc/workflow-consumer/env", "-/etc/workflow-consumer/env.%i"]
    assert [line.partition("=")[2] for line in lines if line.startswith("Environment")] == wanted
