"""Logs: one JSON object per line off a terminal, text on one; no values of variables, no keys of other libraries."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loguru import logger

from consumer.logs import configure_logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    logger.remove()
    logger.configure(patcher=lambda _: None)
    logger.add(sys.stderr)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_off_a_terminal_every_line_is_a_json_object_with_what_was_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    with logger.contextualize(job="j1", attempt=2):
        logger.bind(output_tokens=4).info("job {}", "completed")
    logger.warning("multi\nline {not a field} — ü")
    first, second = [json.loads(line) for line in said(capsys).splitlines()]
    assert (first["level"], first["message"], first["job"], first["attempt"]) == ("INFO", "job completed", "j1", 2)
    assert first["output_tokens"] == 4
    assert first["time"][-6] in "+-"
    assert second["message"] == "multi\nline {not a field} — ü"


def test_on_a_terminal_it_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs()
    logger.bind(job="j<red>1").info("said {}", "<b>so</b>")
    (line,) = stream.getvalue().splitlines()
    assert "said <b>so</b>" in line
    assert "job=j<red>1" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_form_can_be_chosen(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logs(form=form)  # type: ignore[arg-type]  # parametrized
    logger.info("here")
    assert said(capsys).startswith("{") == (form == "json")


@contextmanager
def journal(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Path]:
    """Standard error is what systemd says is the journal; read it after."""
    with (folder / "journal").open("w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        found = os.fstat(stream.fileno())
        patch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        yield folder / "journal"


@pytest.mark.parametrize(
    ("level", "priority"), [("DEBUG", 7), ("INFO", 6), ("SUCCESS", 5), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)]
)
def test_in_the_journal_every_line_of_json_begins_with_its_priority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, level: str, priority: int
) -> None:
    with journal(monkeypatch, tmp_path) as path:
        configure_logs("DEBUG")
        logger.bind(job="j1").log(level, "said")
    (line,) = path.read_text().splitlines()
    assert line.startswith(f"<{priority}>{{")
    assert json.loads(line[3:])["job"] == "j1"


def test_in_the_journal_text_has_no_time_and_no_line_of_it_can_forge_a_priority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with journal(monkeypatch, tmp_path) as path:
        configure_logs(form="text")
        logger.bind(job="j1").warning("first\n<0>second")
    assert path.read_text() == "<4>first\n<4><0>second job=j1\n"


def test_a_standard_error_that_was_led_elsewhere_is_not_the_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with journal(monkeypatch, tmp_path) as path:
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        configure_logs()
        logger.info("here")
    assert path.read_text().startswith("{")


def test_pythons_own_warnings_are_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    warnings.warn("old", UserWarning, stacklevel=1)
    line = json.loads(said(capsys))
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")


def test_below_the_level_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("WARNING")
    logger.info("quiet")
    assert said(capsys) == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_never_shows_the_values_of_variables(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logs(form=form)  # type: ignore[arg-type]  # parametrized
    secret = "sb_secret_" + "hidden"
    try:
        raise KeyError(len(secret))
    except KeyError:
        logger.exception("a defect")
    text = said(capsys)
    assert "KeyError" in text
    assert secret not in text


def test_an_exception_is_still_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    logger.opt(exception=ValueError("bad")).error("a defect")
    (line,) = said(capsys).splitlines()
    assert json.loads(line)["exception"][-1] == "ValueError: bad"


@pytest.mark.parametrize("name", ["websockets.client", "httpx", "httpcore.http11", "realtime._async.client", "hpack"])
def test_libraries_that_print_keys_stay_silent_even_at_debug(capsys: pytest.CaptureFixture[str], name: str) -> None:
    configure_logs("DEBUG")
    logging.getLogger(name).debug("GET /socket?apikey=sb_secret_x")
    logging.getLogger(name).info("HTTP Request: GET ?apikey=sb_secret_x")
    assert said(capsys) == ""


def test_their_warnings_come_through_as_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    logging.getLogger("websockets").warning("lost {braces} %s", "it")
    line = json.loads(said(capsys))
    assert (line["level"], line["message"], line["logger"]) == ("WARNING", "lost {braces} it", "websockets")


def test_a_level_of_a_librarys_own_does_not_raise(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    logging.getLogger("library").log(35, "odd")
    assert json.loads(said(capsys))["message"] == "odd"


def test_configuring_twice_does_not_say_things_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    configure_logs()
    logger.info("once")
    logging.getLogger("library").warning("once")
    assert len(said(capsys).splitlines()) == 2
