"""`consumer doctor` on a real project: one thing is broken at a time, and it is named with the way out."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import Result

from benchmarks.instant_model import CREATED, InstantModel, _plain
from consumer import doctor_host, doctor_models, doctor_realtime
from consumer.checkup import Check, Finding, examine, exit_code, ok
from consumer.doctor import diagnose
from devstack.keys import Keys
from tests.commands import consumer, settings_are
from tests.conftest import ROOT
from tests.engine import until
from tests.processes import run_consumer
from tests.redis_server import redis_server
from tests.stacks import ThreadedStack, threaded_stack
from tests.wall_clock import HERE, shifted

EX_UNAVAILABLE, EX_CONFIG = 69, 78
JOBS, WORKERS = "public.workflow_generation_jobs", "public.workflow_workers"
CLAIM = "public.claim_workflow_jobs"
RELOAD = "; notify pgrst, 'reload schema'"
ANALYZE, GENERATE = "mistral:7b", "qwen2.5:7b"
OF_THE_PROJECT = ["key", "database", "schema", "publication", "grants", "rls", "storage", "broadcast", "clock",
                  "realtime", "canary"]  # fmt: skip
OF_THE_MODELS = ["model server", ANALYZE, GENERATE, "models together", "context"]
ALL = ["config", *OF_THE_PROJECT, *OF_THE_MODELS, "packages", "extras", "disk", "redis"]


class DescribedModel(InstantModel):
    """Says a version and, of what is loaded, sizes; `silent`: answers no question."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """A good server with room for both."""
        self.version, self.silent, self.room = "0.33.0", False, 2
        self.about: dict[str, object] = {"size": 100, "size_vram": 100, "context_length": 8192}
        self.loaded.clear()

    async def _route(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/api/version":
            _plain(writer, {"version": self.version})
        elif path == "/api/ps":
            later = {"expires_at": "2999-01-01T00:00:00Z"}
            names = sorted(self.loaded)[-self.room :]
            _plain(writer, {"models": [{"name": name, "created_at": CREATED, **later, **self.about} for name in names]})
        elif path == "/api/chat" and self.silent and body.get("messages"):
            await asyncio.Event().wait()
        else:
            await super()._route(path, body, writer)


@pytest.fixture(scope="module")
def project() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True, model=DescribedModel()) as stack:
        yield stack


@pytest.fixture(autouse=True)
def settings(project: ThreadedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The project's, and nothing else; at the end nothing is left of any check."""
    settings_are(monkeypatch, tmp_path, project.stack.env)
    model_of(project).reset()
    yield
    assert project.psql(f"select (select count(*) from {WORKERS}) + (select count(*) from {JOBS})") == "0"


def model_of(project: ThreadedStack) -> DescribedModel:
    assert isinstance(project.instant, DescribedModel)
    return project.instant


def doctor(*options: str) -> Result:
    return consumer("doctor", *options)


class Found(NamedTuple):
    """What `--json` says, by the name of the check."""

    code: int
    of: dict[str, dict[str, str]]

    def names(self, status: str) -> list[str]:
        return [name for name, check in self.of.items() if check["status"] == status]


def found(*options: str) -> Found:
    done = doctor("--json", *options)
    said = json.loads(done.stdout)
    assert said["exit_code"] == done.exit_code
    return Found(done.exit_code, {check["name"]: check for check in said["checks"]})


def test_when_all_is_well_each_check_is_a_line_and_nothing_is_left_behind() -> None:
    done = doctor()
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert (done.exit_code, done.stderr) == (0, "")
    assert [(status, text.startswith(name)) for (status, text), name in zip(lines, ALL, strict=True)] == [
        ("skipped" if name == "redis" else "ok", True) for name in ALL
    ]


def test_as_a_process_it_ends_with_its_code_and_names_what_failed(project: ThreadedStack, tmp_path: Path) -> None:
    done = run_consumer("doctor", "--no-load", env=project.stack.env | {"GENERATE_MODEL": "qwen9:1t"}, cwd=tmp_path)
    assert done.returncode == EX_CONFIG
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert "Run: ollama pull qwen9:1t" in line
    (word,) = done.stderr.splitlines()
    assert word.startswith("consumer: doctor: failed: qwen9:1t.")


SETTINGS: dict[str, tuple[dict[str, str], int, str, list[str], list[str]]] = {
    "no url": (
        {"SUPABASE_URL": ""}, EX_CONFIG, "config", ["SUPABASE_URL: is not set", "Set it to"], OF_THE_PROJECT,
    ),
    "a wrong number": (
        {"OLLAMA_NUM_CTX": "1"}, EX_CONFIG, "config", ["OLLAMA_NUM_CTX: "],
        [*OF_THE_PROJECT, "model server", "models", "context"],
    ),
    "a wrong name": ({"WORKER_ID": "a b"}, EX_CONFIG, "config", ["WORKER_ID: ", "Use 1 to 64"], OF_THE_PROJECT),
    "a wrong catalogue": (
        {"WORKFLOW_CATALOG": "/none.json"}, EX_CONFIG, "config", ["WORKFLOW_CATALOG: /none.json"], OF_THE_PROJECT,
    ),
    "another project's key": (
        {"SUPABASE_SERVICE_ROLE_KEY": Keys.fresh().service_role}, EX_CONFIG, "database", ["refuses this key", "Copy"],
        OF_THE_PROJECT[2:],
    ),
    "a key of another ref": (
        {"SUPABASE_URL": "https://ours.supabase.co",
         "SUPABASE_SERVICE_ROLE_KEY": Keys.fresh().token("service_role", ref="theirs")},
        EX_CONFIG, "key", ["'theirs'", "'ours'", "of one project"], OF_THE_PROJECT[1:],
    ),
    "an expired key": (
        {"SUPABASE_SERVICE_ROLE_KEY": Keys.fresh().token("service_role", expires_in=-1)}, EX_CONFIG, "key",
        ["has expired", "sb_secret_"], OF_THE_PROJECT[1:],
    ),
    "nobody at the url": (
        {"SUPABASE_URL": "http://127.0.0.1:9"}, EX_UNAVAILABLE, "database", ["no usable answer", "running?"],
        OF_THE_PROJECT[2:],
    ),
    "no model server": (
        {"OLLAMA_LOCAL_URL": "http://127.0.0.1:9"}, EX_UNAVAILABLE, "model server", ["ollama serve"],
        OF_THE_MODELS[1:],
    ),
    "a model that is not there": (
        {"GENERATE_MODEL": "qwen9:1t"}, EX_CONFIG, "qwen9:1t", ["is not on", "ollama pull qwen9:1t"],
        ["models together", "context"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_fails_one_check_and_skips_only_what_needs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, code, check, words, unseen = SETTINGS[name]
    for variable, value in change.items():
        monkeypatch.setenv(variable, value)
    said = found("--no-load")
    assert (said.code, said.names("failed")) == (code, [check])
    text = f"{said.of[check]['found']}. {said.of[check]['advice']}"
    assert [word for word in words if word not in text] == [], text
    no_load = [name for name in ("models together", "context") if name in said.of and name not in unseen]
    assert said.names("skipped") == [*unseen, *no_load, "redis"]


DAMAGES: dict[str, tuple[str, str, str, str, list[str]]] = {
    "an older schema": (
        "alter function workflow_private.take rename to gone", "alter function workflow_private.gone rename to take",
        "schema", "failed", ["17: function workflow_private.take/5", "up to migration 16", "Apply the migrations"],
    ),
    "no migrations": (
        "alter function public.inspect_workflow_schema rename to gone" + RELOAD,
        "alter function public.gone rename to inspect_workflow_schema" + RELOAD,
        "schema", "failed", ["lacks the consumer's tables", "Apply the migrations: supabase db push"],
    ),
    "a table that is not published": (
        f"alter publication supabase_realtime drop table {JOBS}",
        f"alter publication supabase_realtime add table {JOBS}",
        "publication", "failed", [JOBS, "alter publication supabase_realtime add table"],
    ),
    "a right that is taken": (
        f"revoke execute on function {CLAIM} from service_role", f"grant execute on function {CLAIM} to service_role",
        "grants", "failed", ["service_role EXECUTE on public.claim_workflow_jobs/8", "Apply the migrations"],
    ),
    "a right too many": (
        f"grant execute on function {CLAIM} to anon", f"revoke execute on function {CLAIM} from anon",
        "grants", "warning", ["anon EXECUTE on public.claim_workflow_jobs/8", "Revoke"],
    ),
    "row level security off": (
        f"alter table {JOBS} disable row level security", f"alter table {JOBS} enable row level security",
        "rls", "warning", [JOBS, "enable row level security"],
    ),
    "a policy of somebody else": (
        f"create policy everybody on {JOBS} for select using (true)", f"drop policy everybody on {JOBS}",
        "rls", "warning", ["everybody"],
    ),
    "an invalid index": (
        "update pg_index set indisvalid = false where indexrelid = 'public.workflow_events_of_job'::regclass",
        "update pg_index set indisvalid = true where indexrelid = 'public.workflow_events_of_job'::regclass",
        "storage", "warning", ["invalid: public.workflow_events_of_job", "reindex index"],
    ),
    "no broadcasts": (
        "alter function realtime.send(jsonb, text, text, boolean) rename to sent",
        "alter function realtime.sent(jsonb, text, text, boolean) rename to send",
        "broadcast", "warning", ["realtime.send is not there"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_in_the_database_is_named(project: ThreadedStack, name: str) -> None:
    damage, mend, check, status, words = DAMAGES[name]
    project.psql(damage, user="supabase_admin")
    try:
        said = found("--no-load")
    finally:
        project.psql(mend, user="supabase_admin")
    assert said.names(status) == [check]
    assert said.code == (EX_CONFIG if status == "failed" else 0)
    text = f"{said.of[check]['found']}. {said.of[check]['advice']}"
    assert [word for word in words if word not in text] == [], text
    assert said.of["model server"]["status"] == "ok"


def test_a_realtime_that_is_away_leaves_the_database_well(project: ThreadedStack) -> None:
    project.call(project.stack.realtime.go_away())
    try:
        said = found("--no-load")
    finally:
        project.stack.realtime.come_back()
    assert (said.code, said.names("failed")) == (EX_UNAVAILABLE, ["realtime"])
    assert "HTTP 503" in said.of["realtime"]["found"]
    assert said.of["canary"]["found"] == "needs realtime"


def test_a_realtime_that_is_deaf_fails_the_canary(project: ThreadedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_realtime, "CANARY_GRACE", 0.5)
    project.stack.realtime.deaf = True
    try:
        said = found("--no-load")
    finally:
        project.stack.realtime.deaf = False
    assert (said.code, said.names("failed"), said.of["realtime"]["status"]) == (EX_UNAVAILABLE, ["canary"], "ok")
    assert "did not come back within 0.5 s" in said.of["canary"]["found"]


async def test_who_breaks_it_off_leaves_no_row_behind(project: ThreadedStack) -> None:
    project.stack.realtime.deaf = True
    try:
        looking = asyncio.create_task(diagnose(load=False))
        await until("the canary flies", lambda: project.psql(f"select count(*) from {WORKERS}") == "1")
        looking.cancel()
        await asyncio.wait({looking})
    finally:
        project.stack.realtime.deaf = False
    assert looking.cancelled()


@pytest.mark.skipif(HERE != ("Linux", "x86_64"), reason="libfaketime's wheel holds a library for that alone")
def test_a_clock_that_is_hours_off_is_named(project: ThreadedStack, tmp_path: Path) -> None:
    done = run_consumer("doctor", "--json", "--no-load", env=project.stack.env | shifted("-7h"), cwd=tmp_path)
    (clock,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "clock"]
    assert (done.returncode, clock["status"]) == (EX_CONFIG, "failed")
    assert "behind the database" in clock["found"]
    assert "timedatectl" in clock["advice"]


def _of(**about: object) -> Callable[[DescribedModel], None]:
    def change(model: DescribedModel) -> None:
        model.about |= about

    return change


def _set(name: str, value: object) -> Callable[[DescribedModel], None]:
    return lambda model: setattr(model, name, value)


MODELS: dict[str, tuple[Callable[[DescribedModel], None], str, str, int, list[str]]] = {
    "too old a server": (
        _set("version", "0.12.5"), "model server", "failed", EX_CONFIG, ["version 0.12.5", "upgrade Ollama to 0.12.6"],
    ),
    "the oldest server that will do": (_set("version", "0.12.6"), "model server", "ok", 0, ["0.12.6"]),
    "a server without a version": (_set("version", "0.0.0"), "model server", "warning", 0, ["0.12.6 or newer"]),
    "a model that hangs": (
        _set("silent", True), ANALYZE, "failed", EX_UNAVAILABLE, ["gives no token within 0.2 s", "restart"],
    ),
    "room for one model": (
        _set("room", 1), "models together", "warning", 0, ["do not stay loaded side by side", "OLLAMA_NUM_CTX"],
    ),
    "a shorter context": (
        _of(context_length=4096), "context", "warning", 0, ["serves 4096 tokens of the 8192", "OLLAMA_NUM_CTX=4096"],
    ),
    "half on the GPU": (_of(size_vram=50), "context", "warning", 0, ["on the GPU by 50 % only", "OLLAMA_NUM_CTX"]),
    "all on the CPU": (_of(size_vram=0), "context", "ok", 0, ["8192"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_is_wrong_with_the_models_is_named(
    project: ThreadedStack, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, check, status, code, words = MODELS[name]
    monkeypatch.setattr(doctor_models, "CANARY", 0.2 if name == "a model that hangs" else 30.0)
    change(model_of(project))
    said = found()
    assert (said.of[check]["status"], said.code) == (status, code), said.of[check]
    text = f"{said.of[check]['found']}. {said.of[check]['advice']}"
    assert [word for word in words if word not in text] == [], text


@pytest.mark.parametrize(("extra", "package"), [("http", "uvicorn"), ("redis", "redis"), ("otel", "opentelemetry-sdk")])
def test_an_extra_that_no_setting_needs_may_be_missing(
    extra: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = doctor_host._version
    monkeypatch.setattr(doctor_host, "_version", lambda name: None if name == package else there(name))
    said = found("--no-load").of["extras"]
    assert (said["status"], said["found"].partition("not installed: ")[2]) == ("ok", extra)


def test_the_packages_of_the_extras_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, names in doctor_host.EXTRAS.items():
        assert sorted(re.split(r"[\[>=]", text)[0] for text in extras[extra]) == sorted(names)


def test_an_extra_that_a_setting_needs_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    there = doctor_host._version
    monkeypatch.setattr(doctor_host, "_version", lambda name: None if name == "uvicorn" else there(name))
    monkeypatch.setenv("HTTP_LISTEN", "127.0.0.1:0")
    said = found("--no-load")
    assert (said.code, said.names("failed")) == (EX_CONFIG, ["extras"])
    assert said.of["extras"]["advice"] == 'Run: pip install "workflow-consumer[http]"'


def test_a_redis_that_is_away_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9")
    said = found("--no-load")
    assert (said.code, said.names("warning")) == (0, ["redis"])
    assert said.of["redis"]["found"].startswith("REDIS_URL: ")
    assert "as without REDIS_URL" in said.of["redis"]["advice"]


def test_a_redis_that_works_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server(tmp_path) as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        assert found("--no-load").of["redis"]["status"] == "ok"


def test_a_package_of_another_version_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    there = doctor_host._version
    monkeypatch.setattr(doctor_host, "_version", lambda name: "2.0.0" if name == "realtime" else there(name))
    said = found("--no-load")
    assert (said.code, said.names("warning")) == (0, ["packages"])
    assert "realtime 2.0.0 (not 2.34.1)" in said.of["packages"]["found"]


def test_a_disk_that_is_nearly_full_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_host, "LEAST_FREE", 10**18)
    said = found("--no-load")
    assert (said.code, said.names("warning")) == (0, ["disk"])
    assert "Free some space" in said.of["disk"]["advice"]


async def _never_ends() -> Finding:
    await asyncio.Event().wait()
    raise AssertionError


async def _breaks() -> Finding:
    raise ZeroDivisionError


async def _well() -> Finding:
    return ok("well")


async def test_every_check_has_a_clock_and_none_hides_the_others() -> None:
    checks = [Check("slow", _never_ends, seconds=0.01), Check("broken", _breaks), Check("well", _well),
              Check("dependent", _well, needs=("slow",)), Check("later", _well, after=("slow",))]  # fmt: skip
    told: list[str] = []
    findings = await examine(checks, lambda finding: told.append(finding.name))
    assert [finding.status for finding in findings] == ["failed", "failed", "ok", "skipped", "ok"]
    assert told == [check.name for check in checks]
    assert "no end within 0.01 s" in findings[0].found
    assert exit_code(findings) == EX_UNAVAILABLE


async def test_checks_that_need_nothing_of_each_other_run_at_once() -> None:
    arrived = [asyncio.Event(), asyncio.Event()]

    async def meet(own: asyncio.Event, other: asyncio.Event) -> Finding:
        own.set()
        await other.wait()
        return ok("met")

    findings = await examine([Check("a", lambda: meet(*arrived)), Check("b", lambda: meet(*reversed(arrived)))])
    assert [finding.status for finding in findings] == ["ok", "ok"]
