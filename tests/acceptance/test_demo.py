"""`consumer demo`, the product's main job with the real small model: shown live, valid, and gone when interrupted."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.test_dev import home, offspring, still_alive
from tests.processes import Process, run_consumer, running
from tests.waiting import eventually

__all__ = ["home"]
PROMPT = "When a customer sends the contact form, tell #sales on Slack"
# No real Ollama of this machine: the demo under test is the one that everybody has.
# And its worker waits for no job when it has to stop, so that an interrupt in mid-job does not either.
ALONE = {"OLLAMA_LOCAL_URL": "http://127.0.0.1:9", "SHUTDOWN_GRACE": "0"}


def section(output: str, title: str, until: str) -> str:
    return output.split(f"\n{title}\n", 1)[1].split(f"\n{until}", 1)[0].strip()


@pytest.mark.slow
def test_the_whole_journey_is_shown_and_ends_in_a_workflow_that_validate_accepts(home: Path) -> None:
    done = run_consumer("demo", PROMPT, "--home", str(home / "data"), env=ALONE, cwd=home, timeout=170)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Traceback" not in done.stderr
    percents = [int(found) for found in re.findall(r"^ *(\d+) %  \w+", done.stdout, re.MULTILINE)]
    assert percents == sorted(percents)
    assert any(0 < percent < 100 for percent in percents)
    assert "node 1: " in done.stdout
    workflow = json.loads(section(done.stdout, "JSON", "Valid:"))
    judged = run_consumer("validate", "-", env={}, cwd=home, stdin=json.dumps(workflow))
    assert judged.returncode == 0, judged.stdout
    graph = section(done.stdout, "Workflow", "JSON")
    assert all(node["type"] in graph for node in workflow["nodes"])
    assert "Valid: yes" in done.stdout
    times, figures = done.stdout.split("\nTimes", 1)[1].split("\nModel server's own figures", 1)
    for word in ("insert", "event (", "claimed", "Phase analyze begins", "Phase validation begins", "finished"):
        assert word in times, times
    for word in ("model_load_time_ms", "inference_time_ms", "output_tokens", "tokens_per_second"):
        assert re.search(rf"{word} +│ +[\d,.]+", figures), figures
    assert not [
        member for member in psutil.process_iter(["cmdline"]) if str(home) in " ".join(member.info["cmdline"] or [])
    ]


@pytest.fixture
def demo(home: Path) -> Iterator[Process]:
    with running("demo", PROMPT, "--home", str(home / "data"), env=ALONE, cwd=home) as process:
        yield process


def said(demo: Process, text: str) -> None:
    """Read on until a line of the demo holds `text`."""
    assert demo.process.stdout is not None
    for line in demo.process.stdout:
        if text in line:
            return
    raise AssertionError(f"the demo ended before {text!r}:\n" + "\n".join(demo.lines))


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Starting the embedded stack", signal.SIGINT),
        ("Worker is ready", signal.SIGTERM),
        ("%  analyze", signal.SIGINT),
    ],
    ids=["while it starts", "before its job", "in mid-job"],
)
def test_an_interrupt_leaves_no_process(demo: Process, moment: str, number: signal.Signals) -> None:
    said(demo, moment)
    family = offspring(demo)
    assert demo.stop(number) == 130
    assert demo.lines == ["consumer: interrupted"]
    assert "Traceback" not in "\n".join(demo.lines)
    eventually("nothing of it runs", lambda: not still_alive(family), timeout=20)


def test_a_kill_leaves_no_process(demo: Process) -> None:
    said(demo, "%  analyze")
    family = offspring(demo)
    assert any("postgres" in member.name() for member in family)
    demo.process.kill()
    demo.wait()
    eventually("nothing of it runs", lambda: not still_alive(family), timeout=60)
