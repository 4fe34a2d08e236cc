"""What the HTTP face answers when something goes wrong: always a sentence in JSON, never a stack trace.

Installed by the face. A database that is away is 503 with Retry-After; the log has what the answer leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from starlette.exceptions import HTTPException

from consumer.errors import StoreRefused, StoreUnavailable

# Seconds; the worker's own back-off is as long at the most.
RETRY_AFTER = 15
_MOST_DETAILS = 20


def later() -> dict[str, str]:
    """The header that goes with 503."""
    return {"Retry-After": str(RETRY_AFTER)}


def install(app: FastAPI) -> None:
    """Give `app` the handlers of all errors that can reach it."""
    app.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]  # of its kind only
    app.add_exception_handler(RequestValidationError, _unreadable)  # type: ignore[arg-type]
    app.add_exception_handler(StoreUnavailable, _away)
    app.add_exception_handler(StoreRefused, _database_refused)
    app.add_exception_handler(Exception, _defect)


async def _refused(_: Request, error: HTTPException) -> JSONResponse:
    detail: object = error.detail
    return JSONResponse(
        detail if isinstance(detail, dict) else {"error": detail}, error.status_code, headers=error.headers
    )


async def _unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"error": "The request is not as it should be.", "details": _sentences(error.errors())}, 422)


async def _away(_: Request, error: Exception) -> JSONResponse:
    logger.warning("HTTP: the database did not answer: {}", error)
    return JSONResponse({"error": "The database does not answer. Try again later."}, 503, headers=later())


async def _database_refused(_: Request, error: Exception) -> JSONResponse:
    logger.error("HTTP: the database refused a call, see `consumer run`'s checks: {}", error)
    return JSONResponse({"error": "The database refuses the worker. See its log."}, 503, headers=later())


async def _defect(_: Request, __: Exception) -> JSONResponse:
    """The guard logs it."""
    return JSONResponse({"error": "A defect of the worker. See its log."}, 500)


def _sentences(errors: Iterable[Any]) -> list[str]:
    """Where and why, without what was sent."""
    return [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors][:_MOST_DETAILS]
