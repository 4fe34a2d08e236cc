"""The two calls of frontends (contract §3): ask for a workflow, and see how it is doing, each as the caller.

Included by the HTTP face. The caller's Supabase JWT is checked here first, before the body is read, and then goes
through to the database, whose row level security decides.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, HTTPException, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from consumer.caller_token import Caller, CallerTokens, KeysUnavailable, PublishedKeys, TokenRefused
from consumer.errors import StoreRefused
from consumer.http_errors import later
from consumer.http_parts import Form, JobIdPath, Parts, Refusal, in_form
from consumer.job import JsonObject
from consumer.store import Store

ASK = ("/generate-workflow-async", "/generate-workflow/async")
STATUS = "/workflow-status/"
# The guard lets these through without the worker's token: they ask for the caller's.
OPEN = (*ASK, STATUS)
UNKNOWN = "You have no such job. Check the id."
# By the names of the rules in sql_migrations/13 and 15, and by SQLSTATE: what the request's own checks cannot see.
RULES = {
    "workflow_job_input_sizes": "currentWorkflow, executionHistory or config is too large (2 MiB, 2 MiB, 256 KiB).",
    "nested deeper": "A JSON value is nested deeper than 63 levels, or holds a number beyond 1e308.",
    "22P05": "A text holds a NUL character, which cannot be stored.",
    "UNREADABLE": "A value cannot be written as JSON text.",
}
# What PostgREST says of a token that it does not take (traces/postgrest.md §3).
_NOT_SIGNED_IN = ("PGRST301", "PGRST302", "PGRST303", "42501")
# The only foreign key of a job is its user.
_NO_SUCH_USER = "23503"

_bearer = Security(HTTPBearer(auto_error=False, description="The access token of a signed-in user."))


class Ask(BaseModel):
    """What a workflow is asked for with. `description` stands for `prompt`."""

    model_config = ConfigDict(extra="ignore")

    prompt: str = Field("", max_length=20_000, validation_alias=AliasChoices("prompt", "description"))
    mode: Literal["create", "edit"] = "create"
    current_workflow: JsonObject | None = Field(None, alias="currentWorkflow")
    execution_history: list[JsonObject] | None = Field(None, alias="executionHistory")
    config: JsonObject | None = None


class Asked(BaseModel):
    """The job that was made; ask for its status."""

    job_id: str
    status: str
    message: str
    estimated_completion_time: str


class WorkflowStatus(BaseModel):
    """How the caller's job is doing; what does not apply is left out."""

    job_id: str
    status: str
    progress_percentage: int | None
    current_phase: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    workflow: JsonObject | None = None
    error: str | None = None
    error_details: JsonObject | None = None
    progress_logs: list[Any] | None = None
    observability: JsonObject | None = None


def router(parts: Parts) -> APIRouter:
    """The routes; each request knows its caller."""
    settings = parts.status.settings
    tokens = CallerTokens(settings.supabase_jwt_secret, PublishedKeys(settings.supabase_url))
    refusals: dict[int | str, dict[str, Any]] = {code: {"model": Refusal} for code in (401, 422, 503)}
    routes = APIRouter(
        tags=["callers"], route_class=_for_callers(tokens), dependencies=[_bearer], responses=refusals
    )  # fmt: skip

    @routes.post(
        ASK[1], status_code=202, responses={400: {"model": Refusal}, 413: {"model": Refusal}},
        operation_id="generate_workflow_alias",
    )  # fmt: skip
    @routes.post(ASK[0], status_code=202, responses={400: {"model": Refusal}, 413: {"model": Refusal}})
    async def generate_workflow(
        ask: Ask, request: Request, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None
    ) -> Asked:
        """Ask for a workflow. Repeating with the same Idempotency-Key gives the same job."""
        _check(ask)
        caller: Caller = request.state.caller
        job = await _submitted(_acting_as(parts, caller), ask, caller, idempotency_key)
        return Asked(
            job_id=job["job_id"], status=job["status"], message=f"Ask for its status: GET {STATUS}{job['job_id']}",
            estimated_completion_time="a few minutes",
        )  # fmt: skip

    @routes.get(f"{STATUS}{{job_id}}", responses={404: {"model": Refusal}}, response_model_exclude_unset=True)
    async def workflow_status(job_id: JobIdPath, request: Request, form: Form = None) -> WorkflowStatus:
        """How the caller's job is doing."""
        caller: Caller = request.state.caller
        row = await _row(_acting_as(parts, caller), job_id)
        # The policy says the same; a gateway that lost the caller's token must not tell of others' jobs.
        if row is None or row["user_id"] != caller.user_id:
            raise HTTPException(404, UNKNOWN)
        return WorkflowStatus.model_validate(_told(row, in_form(form, row["workflow_result"], parts)))

    return routes


def _for_callers(tokens: CallerTokens) -> type[APIRoute]:
    class ForCallers(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                request.state.caller = await _caller(tokens, request.headers.get("authorization", ""))
                return await handle(request)

            return checked

    return ForCallers


async def _caller(tokens: CallerTokens, authorization: str) -> Caller:
    try:
        return await tokens.caller(authorization)
    except TokenRefused as error:
        raise _unauthorized(str(error)) from error
    except KeysUnavailable as error:
        raise HTTPException(503, "The token cannot be checked now. Try again later.", later()) from error


def _unauthorized(why: str) -> HTTPException:
    return HTTPException(401, why, {"WWW-Authenticate": "Bearer"})


def _acting_as(parts: Parts, caller: Caller) -> Store:
    return parts.store.acting_as(caller.token.get_secret_value())


def _check(ask: Ask) -> None:
    details = None
    if not ask.prompt.strip():
        details = "prompt (or description) is empty. Say what the workflow should do."
    elif ask.mode == "edit" and ask.current_workflow is None:
        details = "mode edit needs currentWorkflow, the workflow to edit."
    if details:
        raise HTTPException(400, {"error": "The request cannot be worked on.", "details": details})


async def _submitted(store: Store, ask: Ask, caller: Caller, idempotency_key: str | None) -> JsonObject:
    try:
        return await store.submit(
            **ask.model_dump(), idempotency_key=idempotency_key,
            user_id=caller.user_id,  # the database takes it from the token, and this only from the service
        )  # fmt: skip
    except StoreRefused as error:
        raise _refusal(error) from error


async def _row(store: Store, job_id: str) -> JsonObject | None:
    try:
        return await store.job_row(job_id)
    except StoreRefused as error:
        raise _refusal(error) from error


def _refusal(error: StoreRefused) -> Exception:
    """As the caller understands it; what is not about the caller or the data stays what it is."""
    if error.code in _NOT_SIGNED_IN:
        return _unauthorized("The database does not take the token. Sign in again.")
    if error.code == _NO_SUCH_USER:
        return _unauthorized("The user of the token is no longer there. Sign in again.")
    if not error.about_the_data:
        return error
    rule = next((sentence for name, sentence in RULES.items() if name in f"{error.code} {error}"), None)
    return HTTPException(422, {"error": "The request cannot be stored.", "details": rule})


def _told(row: JsonObject, workflow: JsonObject | None) -> JsonObject:
    shown = {"job_id": row["id"], **{name: row[name] for name in WorkflowStatus.model_fields if name in row}}
    for name in ("error_details", "progress_logs", "observability"):
        if not row[name] or (name == "error_details" and row["status"] != "failed"):
            del shown[name]
    if row["status"] == "completed":
        shown["workflow"] = workflow
    elif row["status"] == "failed":
        shown["error"] = row["error_message"]
    return shown
