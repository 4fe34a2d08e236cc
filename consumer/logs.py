"""Logging: loguru to stderr, one line per event; text on a terminal, JSON elsewhere. Set up once, by the CLI.

Third-party loggers are routed in and kept at WARNING: at DEBUG, websockets and httpx print the API key.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Literal

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_TEXT = "<green>{time:HH:mm:ss.SSS}</green> <level>{level: <7}</level> {message}{extra[fields]}"


def configure_logs(level: str = "INFO", form: Literal["auto", "text", "json"] = "auto") -> None:
    """Send all logs to stderr. `diagnose=False`: a traceback never prints the values of variables."""
    logger.remove()
    if sys.stderr is None:  # started with it closed
        return
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    if as_text:
        logger.configure(patcher=_add_fields)
        logger.add(sys.stderr, level=level, format=_TEXT, diagnose=False, backtrace=False)
    else:
        logger.add(_write_json, level=level, diagnose=False, backtrace=False)
    logging.basicConfig(handlers=[_Intercept()], level=logging.WARNING, force=True)
    for name in ("websockets", "httpx", "httpcore", "realtime", "hpack", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _add_fields(record: Record) -> None:
    bound = {key: value for key, value in record["extra"].items() if key != "fields"}
    record["extra"]["fields"] = "".join(f" {key}={value}" for key, value in bound.items())


def _write_json(message: Message) -> None:
    record = message.record
    line = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "message": record["message"],
        **{key: value for key, value in record["extra"].items() if key != "fields"},
    }
    if record["exception"] is not None:
        line["exception"] = str(message).strip().splitlines()[-20:]
    sys.stderr.write(json.dumps(line, default=str, ensure_ascii=False) + "\n")


class _Intercept(logging.Handler):
    """Hands records of the standard library's logging to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in LEVELS else record.levelno
        logger.opt(exception=record.exc_info).bind(logger=record.name).log(level, record.getMessage())
