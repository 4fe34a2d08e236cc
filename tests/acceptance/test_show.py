"""`consumer show` and `consumer replay`, on a job that a real worker has finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest

from tests.commands import consumer, settings_are
from tests.stacks import ThreadedStack
from tests.unit.handlers_kit import ANALYSIS, answer, job, log, workflow_of

EX_OK, EX_DIFFERENT, EX_DATAERR, EX_NOINPUT, EX_CANTCREAT = 0, 1, 65, 66, 73
JOBS = "public.workflow_generation_jobs"


class Shown:
    """The stack's one finished job, and the commands that look at it."""

    def __init__(self, stack: ThreadedStack, cwd: Path) -> None:
        self.stack, self.cwd = stack, cwd
        (self.job_id,) = stack.submit("Log a line for every web request ")
        assert consumer("process", self.job_id).exit_code == EX_OK
        self.workflow = self.column("workflow_result")

    def column(self, name: str) -> Any:
        return json.loads(self.stack.psql(f"select {name} from {JOBS} where id = '{self.job_id}'"))

    def store(self, column: str, value: Any) -> None:
        self.stack.psql(f"update {JOBS} set {column} = $show${json.dumps(value)}$show$ where id = '{self.job_id}'")

    def __call__(self, *arguments: str, code: int = EX_OK) -> str:
        command, *options = arguments
        done = consumer(command, self.job_id, *options)
        assert done.exit_code == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code in (EX_OK, EX_DIFFERENT) else done.stderr


@pytest.fixture(autouse=True)
def settings(stack: ThreadedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_are(monkeypatch, tmp_path, stack.stack.env)


@pytest.fixture
def finished(stack: ThreadedStack, tmp_path: Path) -> Shown:
    return Shown(stack, tmp_path)


def test_a_finished_workflow_is_shown_in_every_form(finished: Shown) -> None:
    nodes = finished.workflow["nodes"]
    text = finished("show")
    assert text.splitlines()[0] == finished.workflow["name"]
    assert all(f"{node['label']} [{node['type']}]" in text for node in nodes)
    assert json.loads(finished("show", "--json")) == finished.workflow
    flowchart = finished("show", "--mermaid")
    assert flowchart.startswith("flowchart LR\n")
    assert flowchart.count(" -->") == len(finished.workflow["edges"])
    form = json.loads(finished("show", "--editor-form"))
    assert [node["data"]["type"] for node in form["nodes"]] == [node["type"] for node in nodes]
    assert finished("show", "--svg", "w.svg") == ""
    picture = parse(finished.cwd / "w.svg").getroot()
    assert picture.tag.endswith("svg")
    assert len([item for item in picture.iter() if item.get("class") == "node"]) == len(nodes)
    assert finished("show", "--svg", "-") == (finished.cwd / "w.svg").read_text("utf-8")
    line = finished("show", "--svg", "none/w.svg", code=EX_CANTCREAT)
    assert line.startswith("consumer: --svg: cannot write none/w.svg (No such file") and line.count("\n") == 1


def test_a_finished_job_replayed_by_the_same_code_is_the_same(finished: Shown) -> None:
    assert finished("replay").splitlines()[0] == "Replayed from the stored answers: the same"
    found = json.loads(finished("replay", "--json"))
    assert (found["same"], found["changes"], found["violations"]) == (True, [], [])


def test_what_the_code_of_another_day_has_made_is_told_as_different(finished: Shown) -> None:
    said = answer(log("trigger"))
    other = workflow_of(job(finished.column("to_json(prompt)")), said) | {"name": "Of another day"}
    other["nodes"][0]["label"] = "Other\u202e label"
    answers = {"analyze": ANALYSIS, "generate": said}
    finished.store("workflow_result", other)
    finished.store("checkpoint", {name: {"input_hash": "h", "value": value} for name, value in answers.items()})
    assert finished("replay", code=EX_DIFFERENT).splitlines() == [
        "Replayed from the stored answers: different",
        '~ workflow name: "Of another day" -> "Test"',
        '~ node webhook_1 label: "Other label" -> "Start"',
    ]
    found = json.loads(finished("replay", "--json", code=EX_DIFFERENT))
    assert (found["same"], found["source"], len(found["changes"])) == (False, "answers", 2)


def test_a_stored_workflow_that_breaks_a_rule_of_today_is_told_with_the_rule(finished: Shown) -> None:
    finished.workflow["nodes"][1] |= {"type": "no_such_type", "label": "odd"}
    finished.workflow["nodes"][1]["id"] = finished.workflow["edges"][0]["target"] = "odd"
    finished.store("workflow_result", finished.workflow)
    finished.stack.psql(f"update {JOBS} set checkpoint = null")
    text = finished("replay", code=EX_DIFFERENT)
    assert "the stored workflow (its answers are not kept): different" in text
    assert "broken UNKNOWN_NODE_TYPE" in text
    assert "odd [no_such_type]" in finished("show")


def test_a_stored_value_that_is_no_workflow_is_one_line(finished: Shown) -> None:
    finished.store("workflow_result", {"nodes": 3})
    for command in ("show", "replay"):
        line = finished(command, code=EX_DATAERR)
        assert "holds no workflow that can be shown" in line and line.count("\n") == 1


@pytest.mark.parametrize("name", ["show", "replay"])
def test_a_job_that_is_not_finished_says_its_status_and_what_to_do(stack: ThreadedStack, name: str) -> None:
    pending, failed = stack.submit("first "), stack.submit("second ")
    stack.psql(f"update {JOBS} set run_at = now() + interval '1 hour' where id = '{pending[0]}'")
    stack.psql("select public.claim_workflow_jobs('w')")
    stack.psql(f"select public.settle_workflow_job('{failed[0]}', 1, 'failed')")
    for (job_id,), words in ((pending, "is pending: it has no workflow. Wait for it: consumer status"),
                             (failed, "is failed: it has no workflow. Start it again: consumer retry")):  # fmt: skip
        done = consumer(name, job_id)
        assert (done.exit_code, done.stderr) == (EX_DATAERR, f"consumer: job {job_id} {words} {job_id}\n")
    gone = consumer(name, "job_0_none")
    assert (gone.exit_code, "job_0_none" in gone.stderr) == (EX_NOINPUT, True)
