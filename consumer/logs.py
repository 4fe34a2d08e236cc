"""Logging: loguru to stderr, one line per event; text on a terminal, JSON elsewhere. Set up once, by the CLI.

Where stderr is systemd's journal, a line begins with its priority (`<3>`, sd-daemon(3)), which the journal takes off.
Third-party loggers are routed in and kept at WARNING: at DEBUG, websockets and httpx print the API key.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
QUIET = ("websockets", "httpx", "httpcore", "realtime", "hpack", "asyncio")
_TEXT = "<green>{time:HH:mm:ss.SSS}</green> <level>{level: <7}</level> {message}{extra[fields]}"
# The journal has time and level already.
_JOURNAL_TEXT = "{message}{extra[fields]}"
# Loguru's levels from which on these are syslog's priorities.
_PRIORITIES = ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6), (0, 7))


def configure_logs(level: str = "INFO", form: Literal["auto", "text", "json"] = "auto") -> None:
    """Send all logs to stderr. `diagnose=False`: a traceback never prints the values of variables."""
    logger.remove()
    if sys.stderr is None:  # started with it closed
        return
    if not (form == "text" or (form == "auto" and sys.stderr.isatty())):
        logger.add(
            _write_json_to_journal if _is_journal() else _write_json, level=level, diagnose=False, backtrace=False
        )
    elif _is_journal():
        logger.configure(patcher=_add_fields)
        logger.add(_write_to_journal, level=level, format=_JOURNAL_TEXT, diagnose=False, backtrace=False)
    else:
        logger.configure(patcher=_add_fields)
        logger.add(sys.stderr, level=level, format=_TEXT, diagnose=False, backtrace=False)
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_Intercept()], level=logging.WARNING, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_journal() -> bool:
    """Whether stderr itself is the journal: systemd names the socket it has made, and a redirection leads elsewhere."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _add_fields(record: Record) -> None:
    """What is bound, for people; whose terminal or unit it is, they know."""
    bound = {key: value for key, value in record["extra"].items() if key not in ("fields", "worker")}
    record["extra"]["fields"] = "".join(f" {key}={value}" for key, value in bound.items())


def _write_json(message: Message) -> None:
    sys.stderr.write(_json(message) + "\n")


def _write_json_to_journal(message: Message) -> None:
    sys.stderr.write(_for_journal(message, _json(message)))


def _write_to_journal(message: Message) -> None:
    sys.stderr.write(_for_journal(message, message))


def _for_journal(message: Message, text: str) -> str:
    """With its priority at every line: the journal takes each for an entry of its own."""
    priority = next(priority for at_least, priority in _PRIORITIES if message.record["level"].no >= at_least)
    return "".join(f"<{priority}>{line}\n" for line in text.splitlines())


def _json(message: Message) -> str:
    record = message.record
    line = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "message": record["message"],
        **{key: value for key, value in record["extra"].items() if key != "fields"},
    }
    if record["exception"] is not None:
        line["exception"] = str(message).strip().splitlines()[-20:]
    return json.dumps(line, default=str, ensure_ascii=False)


class _Intercept(logging.Handler):
    """Hands records of the standard library's logging to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in LEVELS else record.levelno
        logger.opt(exception=record.exc_info).bind(logger=record.name).log(level, record.getMessage())
