"""The driver's pulls against scripted streams: what counts as done, what as broken off, what as not there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from loguru import logger

from consumer import pulling
from consumer.errors import JobError, ModelNotFound, ModelUnavailable
from consumer.ollama import Ollama
from consumer.ollama_pull import PullProgress, PullReply
from consumer.pulling import pull_all
from tests.ollama_replay import Cutter, Recording, ReplayServer, every, stream, whole

WEIGHTS = {"status": "pulling e467545e2b6d", "digest": "sha256:e4", "total": 4_000_000_000}
CONFIG = {"status": "pulling 0cf7ba48adb7", "digest": "sha256:0c", "total": 485, "completed": 485}
LINES: list[dict[str, Any]] = [
    {"status": "pulling manifest"},
    WEIGHTS,
    WEIGHTS | {"completed": 1_000_000_000},
    WEIGHTS | {"completed": 4_000_000_000},
    CONFIG,
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]
PULLED = stream(*LINES)
BROKEN = replace(stream(*LINES[:3]), end="cut")
SILENT = replace(stream(*LINES[:3]), end="hang")


def refused(text: str) -> Recording:
    return stream(LINES[0], {"error": text})


UNKNOWN = refused("pull model manifest: file does not exist")
FULL = refused("max retries exceeded: write /blobs/sha256-e4-partial: no space left on device")


async def pull(*script: Recording, cut: Cutter = whole, silence: float = 60) -> list[PullProgress]:
    async with ReplayServer(*script, cut=cut) as server:
        ollama = Ollama(server.url)
        try:
            async with aclosing(ollama.pull("mistral:7b", silence)) as lines:
                return [progress async for progress in lines]
        finally:
            await ollama.aclose()


@pytest.mark.parametrize("cut", [whole, every(1), every(7)])
async def test_a_pull_shows_the_bytes_of_all_layers_together(cut: Cutter) -> None:
    shown = await pull(PULLED, cut=cut)
    assert [progress.status for progress in shown] == [line["status"] for line in LINES]
    assert [progress.completed for progress in shown[:5]] == [0, 0, 10**9, 4 * 10**9, 4 * 10**9 + 485]
    assert shown[1].total == 4 * 10**9
    assert shown[-1] == PullProgress("success", 4 * 10**9 + 485, 4 * 10**9 + 485)


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (UNKNOWN, ModelNotFound, "no model 'mistral:7b'"),
        (FULL, ModelUnavailable, "no space left on device"),
        (BROKEN, ModelUnavailable, "broke off"),
        (stream(*LINES[:-1]), ModelUnavailable, "broke off"),
        (replace(PULLED, status=404), ModelUnavailable, "no Ollama"),
        (replace(PULLED, status=400, body=('{"error":"invalid model name"}',)), ModelNotFound, "invalid model name"),
    ],
)
async def test_all_but_success_is_a_failure(script: Recording, error: type[JobError], words: str) -> None:
    with pytest.raises(error, match=words):
        await pull(script)


async def test_a_server_that_falls_silent_in_a_pull_is_given_up() -> None:
    with pytest.raises(ModelUnavailable, match=r"said nothing for 0.2 s while it pulled 'mistral:7b'"):
        await pull(SILENT, silence=0.2)


async def test_the_silence_of_verifying_is_no_such_silence() -> None:
    async with ReplayServer(replace(stream(*LINES[:6]), end="hang")) as server:
        ollama = Ollama(server.url)
        async with aclosing(ollama.pull("mistral:7b", 0.05)) as lines:
            seen = [await anext(lines) for _ in LINES[:6]]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await anext(lines)
        assert seen[-1].status == "verifying sha256 digest"
        await ollama.aclose()


async def test_to_leave_a_pull_is_to_break_it_off() -> None:
    async with ReplayServer(SILENT) as server:
        ollama = Ollama(server.url)
        async with aclosing(ollama.pull("mistral:7b")) as lines:
            await anext(lines)
            assert not server.left.is_set()
        await server.left.wait()
        await ollama.aclose()


def test_odd_lines_are_no_progress_and_no_crash() -> None:
    reply = PullReply("m")
    odd = [{}, {"status": 7}, {"status": "pulling x", "digest": ["x"], "total": "many", "completed": -1}]
    shown = list(reply.feed("".join(json.dumps(line) + "\n" for line in odd).encode()))
    assert [(progress.completed, progress.total) for progress in shown] == [(0, 0)] * 3
    assert not reply.complete


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is logged, by a puller that hardly waits between its tries."""
    monkeypatch.setattr(pulling, "FIRST_WAIT", 0.001)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


async def pulled(*script: Recording, models: tuple[str, ...] = ("mistral:7b",), bars: bool = False) -> int:
    """Pull with retries; returns how often the server was asked."""
    async with ReplayServer(*script) as server:
        ollama = Ollama(server.url)
        try:
            await pull_all(ollama, models, bars=bars)
        finally:
            await ollama.aclose()
        return len(server.requests)


async def test_a_pull_that_breaks_off_is_tried_again(log: list[str]) -> None:
    assert await pulled(BROKEN, FULL, PULLED) == 3
    assert sum("next try in" in line for line in log) == 2


async def test_a_pull_is_given_up_after_some_tries_that_brought_nothing_new(log: list[str]) -> None:
    with pytest.raises(ModelUnavailable, match="broke off"):
        await pulled(BROKEN)
    assert sum("next try in" in line for line in log) == pulling.RETRIES


async def test_tries_that_bring_more_bytes_are_not_counted(log: list[str]) -> None:
    steps = [replace(stream(WEIGHTS | {"completed": 10**8 * n}), end="cut") for n in range(1, 10)]
    assert await pulled(*steps, PULLED) == 10
    assert len(steps) > pulling.RETRIES + 1


async def test_a_model_that_does_not_exist_is_not_tried_again(log: list[str]) -> None:
    with pytest.raises(ModelNotFound):
        await pulled(UNKNOWN)
    assert not any("next try in" in line for line in log)


async def test_models_are_pulled_one_after_the_other(log: list[str]) -> None:
    assert await pulled(PULLED, models=("mistral:7b", "qwen2.5:7b")) == 2
    names = [line.split("'")[1] for line in log]
    assert names == sorted(names)
    assert set(names) == {"mistral:7b", "qwen2.5:7b"}


async def test_the_log_gets_a_line_for_every_ten_percent_at_most(log: list[str]) -> None:
    steps = [WEIGHTS | {"completed": 10**7 * n} for n in range(401)]
    assert await pulled(stream(*LINES[:2], *steps, *LINES[5:])) == 1
    shown = [int(line.split(": ")[1].split(" %")[0]) for line in log if " % of " in line]
    assert shown == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert log[-2:] == ["pulling 'mistral:7b': verifying", "pulling 'mistral:7b': done, 4.0 GB in 0 s"]


async def test_a_terminal_gets_a_bar_with_name_and_bytes(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    await pulled(PULLED, bars=True)
    written = capsys.readouterr().err
    assert "mistral:7b" in written
    assert "4.0/4.0 GB" in written
    assert log == []
