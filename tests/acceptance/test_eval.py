"""`consumer eval` as a person runs it: what it prints, what it keeps, and when it says that things got worse."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instant_model import COUNTS, InstantModel, ndjson_line
from tests.processes import run_consumer

PROMPTS = (
    {"id": "lead", "prompt": "When a form is sent, tell Slack", "trigger": "form", "nodes": ["slack_message"]},
    {"id": "daily", "prompt": "Every day at 9 write a log line", "trigger": "schedule", "nodes": ["log_output"]},
    {"id": "bare", "prompt": "automate"},
)
Done = subprocess.CompletedProcess[str]


def babble(model: str) -> list[bytes]:
    """An answer without JSON."""
    return [
        ndjson_line(model, "Sure!"),
        ndjson_line(model, "", done=True, done_reason="stop", total_duration=3000, **COUNTS),
    ]


class Babbler(InstantModel):
    """Never answers with JSON."""

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        self.streams += 1
        for line in babble(body["model"]):
            yield line


class Stumbler(InstantModel):
    """Babbles once, in its second answer."""

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        number = self.streams
        async for line in super()._stream(body):
            if number != 1:
                yield line
        for line in babble(body["model"]) if number == 1 else ():
            yield line


class Dying(InstantModel):
    """Is gone with its first answer."""

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        self._server.close()
        yield ndjson_line(body["model"], "{")
        raise ConnectionResetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))
    return tmp_path


async def evaluated(folder: Path, *options: str, model: InstantModel | None = None, **settings: str) -> Done:
    """A run without any setting of a database."""
    async with model or InstantModel() as server:
        env = {"OLLAMA_LOCAL_URL": server.url, **settings}
        return await asyncio.to_thread(run_consumer, "eval", "prompts.jsonl", *options, env=env, cwd=folder)


def figures(done: Done, system: str = "pipeline") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)["systems"][system]
    return found


async def test_people_get_a_table_and_progress_beside_it(folder: Path) -> None:
    done = await evaluated(folder)
    assert done.returncode == 0, done.stderr
    progress = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert [line.split("s  ")[1] for line in progress] == [
        "lead: completed", "daily: completed", "bare: completed",
    ]  # fmt: skip
    (row,) = [line for line in done.stdout.splitlines() if "completed and valid" in line]
    assert "3/3  1.000  [0.439, 1.000]" in row
    assert "old system" not in done.stdout


async def test_labels_that_were_missed_are_listed(folder: Path) -> None:
    odd = {"id": "odd", "prompt": "Every day at 9 write a log line", "trigger": "form", "nodes": ["jira", "log_output"]}
    (folder / "prompts.jsonl").write_text(json.dumps(odd))
    (row,) = [line for line in (await evaluated(folder)).stdout.splitlines() if line.startswith("│ odd")]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["odd", "schedule", "jira"]


async def test_it_says_how_many_labelled_nodes_the_types_on_offer_hold(folder: Path) -> None:
    odd = {"id": "odd", "prompt": "Every day at 9 write a log line", "nodes": ["jira", "log_output"]}
    (folder / "prompts.jsonl").write_text(json.dumps(odd))
    (row,) = [line for line in (await evaluated(folder)).stdout.splitlines() if "among the types offered" in line]
    assert "1/2  0.500  [0.095, 0.905]" in row


async def test_node_types_of_the_users_own_may_be_labels_and_are_offered_used_and_valid(folder: Path) -> None:
    pager = {"type": "pager", "purpose": "Pages somebody", "names": ["our pager"], "fields": []}
    own = {"version": 1, "categories": [{"name": "own", "trigger": False, "types": [pager]}]}
    case = {"id": "page", "prompt": "When a webhook arrives, call our pager", "nodes": ["pager"]}
    (folder / "own.json").write_text(json.dumps(own))
    (folder / "prompts.jsonl").write_text(json.dumps(case))
    shares = figures(await evaluated(folder, "--json", WORKFLOW_CATALOG="own.json"))["shares"]
    assert [shares[name]["share"] for name in ("completed_and_valid", "nodes_offered", "nodes_found")] == [1, 1, 1]
    without = await evaluated(folder)
    assert (without.returncode, without.stdout) == (65, "")
    assert "there is no node type 'pager'" in without.stderr


async def test_a_catalogue_that_is_none_is_named_before_any_work(folder: Path) -> None:
    done = await evaluated(folder, WORKFLOW_CATALOG="none.json")
    assert (done.returncode, done.stdout) == (78, "")
    assert "consumer: WORKFLOW_CATALOG: none.json: No such file or directory" in done.stderr


async def test_programs_get_every_figure(folder: Path) -> None:
    found = figures(await evaluated(folder, "--json"))
    assert found["shares"]["trigger_right"] == {"hits": 2, "of": 2, "share": 1.0, "low": 0.3424, "high": 1.0}
    assert found["shares"]["nodes_found"]["hits"] == found["shares"]["nodes_found"]["of"] == 2
    assert found["attempts"] == 3
    # The stub counts 10 tokens in and 2 out for each of two calls per prompt.
    assert (found["input_tokens"], found["output_tokens"]) == (60, 12)
    assert all(prompt["seconds"] > 0 for prompt in found["prompts"])


async def test_the_named_model_does_all_steps(folder: Path) -> None:
    server = InstantModel(names=("tiny:1b",))
    done = await evaluated(folder, "--json", "--model", "tiny:1b", model=server)
    assert json.loads(done.stdout)["models"] == {"analyze": "tiny:1b", "generate": "tiny:1b"}
    assert server.loaded == {"tiny:1b"}


async def test_a_model_that_is_not_there_is_named(folder: Path) -> None:
    done = await evaluated(folder, "--model", "none:1b")
    assert (done.returncode, done.stdout) == (78, "")
    assert "ollama pull none:1b" in done.stderr


def test_a_model_server_that_does_not_answer_is_named(folder: Path) -> None:
    done = run_consumer("eval", "prompts.jsonl", env={"OLLAMA_LOCAL_URL": "http://127.0.0.1:1"}, cwd=folder)
    assert (done.returncode, done.stdout) == (69, "")
    assert "OLLAMA_LOCAL_URL: the model server at http://127.0.0.1:1 does not answer" in done.stderr


@pytest.mark.slow
async def test_a_model_server_that_dies_ends_the_run_and_is_named(folder: Path) -> None:
    done = await evaluated(folder, model=Dying())
    assert (done.returncode, done.stdout) == (69, "")
    assert "consumer: the model server cannot be used: " in done.stderr


async def test_the_old_system_stands_beside_it_and_is_judged_by_the_same_rules(folder: Path) -> None:
    done = await evaluated(folder, "--json", "--old")
    assert figures(done)["shares"]["completed_and_valid"]["hits"] == 3
    old = figures(done, "old")
    assert old["shares"]["invalid_completed"]["hits"] == 3
    assert old["violations"]["MISSING_REQUIRED_FIELD"] >= 3
    table = (await evaluated(folder, "--old")).stdout
    assert "old system" in table and "Not valid: old system" in table


async def test_unusable_answers_are_asked_for_again_as_in_a_job(folder: Path) -> None:
    server = Babbler()
    found = figures(await evaluated(folder, "--json", model=server))
    assert found["outcomes"] == {"OUTPUT_NOT_JSON": 3}
    assert found["attempts"] == server.streams == 3 * 4
    assert found["shares"]["nodes_found"] == {"hits": 0, "of": 2, "share": 0.0, "low": 0.0, "high": 0.6576}


async def test_the_next_attempt_goes_on_from_the_checkpoint_and_no_token_counts_twice(folder: Path) -> None:
    (folder / "prompts.jsonl").write_text(json.dumps(PROMPTS[0]))
    server = Stumbler()
    found = figures(await evaluated(folder, "--json", model=server))
    assert found["outcomes"] == {"completed": 1}
    assert (found["attempts"], server.streams) == (2, 3)
    assert (found["input_tokens"], found["output_tokens"]) == (30, 6)


async def test_a_run_as_good_as_the_saved_one_passes(folder: Path) -> None:
    assert (await evaluated(folder, "--save", "saved.json")).returncode == 0
    done = await evaluated(folder, "--baseline", "saved.json")
    assert done.returncode == 0
    assert done.stderr.endswith("eval: not worse than the baseline\n")


async def test_a_run_that_is_surely_worse_fails_and_says_in_what(folder: Path) -> None:
    await evaluated(folder, "--save", "saved.json")
    done = await evaluated(folder, "--baseline", "saved.json", "--save", "saved.json", model=Babbler())
    assert done.returncode == 1
    assert "consumer: completed_and_valid: 0/3  0.000  [0.000, 0.561] lies below the saved 1.000" in done.stderr
    assert "completed and valid" in done.stdout
    kept = json.loads((folder / "saved.json").read_text())
    assert kept["systems"]["pipeline"]["outcomes"] == {"OUTPUT_NOT_JSON": 3}


async def test_a_baseline_of_other_prompts_is_compared_with_a_note(folder: Path) -> None:
    await evaluated(folder, "--save", "saved.json")
    with (folder / "prompts.jsonl").open("a") as prompts:
        prompts.write("\n")
    done = await evaluated(folder, "--baseline", "saved.json")
    assert done.returncode == 0
    assert "note: the baseline is of another file of prompts" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "code", "told"),
    [
        ("prompts.jsonl", None, 66, "prompts.jsonl: No such file or directory. Check the path."),
        ("prompts.jsonl", b"\xff", 65, "prompts.jsonl: is not UTF-8 text. Save it as UTF-8."),
        ("prompts.jsonl", b'{"id": "a"}', 65, "prompts.jsonl:1: prompt: Field required. Add it."),
        ("saved.json", None, 66, "saved.json: No such file or directory. Check the path."),
        ("saved.json", b"{}", 65, "saved.json: models: Field required. Write it with: consumer eval"),
        ("saved.json", b"{", 65, "saved.json: the file: Invalid JSON"),
        ("saved.json", b'{"models": {}, "prompts_hash": "", "systems": {}}', 65, "systems.pipeline is missing"),
    ],
)
def test_a_bad_file_is_named_before_any_prompt_runs(
    folder: Path, name: str, content: bytes | None, code: int, told: str
) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    nowhere = {"OLLAMA_LOCAL_URL": "http://127.0.0.1:1"}
    done = run_consumer("eval", "prompts.jsonl", "--baseline", "saved.json", env=nowhere, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_figures_that_could_not_be_kept_are_not_measured(folder: Path) -> None:
    done = run_consumer("eval", "prompts.jsonl", "--save", "none/saved.json", env={}, cwd=folder)
    assert done.returncode == 2
    assert "cannot be written. Choose a folder that exists" in done.stderr.replace("\n", " ")
