"""The HTTP contract from outside: operators steer jobs, frontends ask as their users, strangers do nothing."""

from __future__ import annotations

import json
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.acceptance.conftest import hold, release, streaming
from tests.acceptance.test_http import gateway_away, listening
from tests.processes import Process
from tests.stacks import ThreadedStack
from tests.waiting import eventually

JOBS, WORKERS = "public.workflow_generation_jobs", "public.workflow_workers"
ASK, STATUS = "/generate-workflow-async", "/workflow-status"
PROMPT = "Tell me when the form is sent"
ORIGIN = "https://app.example.org"
WORKER = "face-1"
# 503 is an answer here, and no schema says what the database stores and what the contract wants answered with 400.
LEFT_OUT: list[Any] = [schemathesis.checks.not_a_server_error, positive_data_acceptance]
FUZZ = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def face(
    instant_stack: ThreadedStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, httpx.Client]]:
    """One worker for all, on loopback and without a token."""
    env = {"SUPABASE_JWT_SECRET": instant_stack.stack.keys.jwt_secret, "HTTP_CORS_ORIGINS": ORIGIN, "WORKER_ID": WORKER}
    with listening(instant_stack, tmp_path_factory.mktemp("face"), **env) as found:
        yield found


@pytest.fixture
def client(face: tuple[Process, httpx.Client], stack: ThreadedStack) -> Iterator[httpx.Client]:
    """Its client; afterwards it is idle and not paused."""
    yield face[1]
    face[1].post("/resume")
    stack.call(release(stack))
    eventually("the worker is idle", lambda: face[1].get("/health").json()["slots"]["in_work"] == 0)


@pytest.fixture
def alice(stack: ThreadedStack) -> dict[str, str]:
    """The headers of a signed-in user."""
    return signed_in(stack)


def signed_in(stack: ThreadedStack, **claims: Any) -> dict[str, str]:
    user_id = str(uuid.uuid4())
    stack.psql(f"insert into auth.users (id) values ('{user_id}')", user="supabase_admin")
    return {"Authorization": f"Bearer {stack.stack.keys.user_token(user_id, **claims)}"}


def ended(client: httpx.Client, job_id: str, status: str = "completed") -> dict[str, Any]:
    eventually(f"it is {status}", lambda: client.get(f"/jobs/{job_id}/status").json()["status"] == status)
    found: dict[str, Any] = client.get(f"/jobs/{job_id}/status").json()
    return found


def paused(stack: ThreadedStack, client: httpx.Client, how_many: int = 1) -> list[str]:
    """Jobs that nobody takes."""
    assert client.post("/pause").json() == {"worker_id": WORKER, "paused": True}
    return stack.submit("job ", how_many)


def test_a_jobs_status_has_the_fields_of_the_contract(stack: ThreadedStack, client: httpx.Client) -> None:
    (job_id,) = stack.submit("job ")
    said = ended(client, job_id)
    assert set(said) == {
        "id", "status", "progress_percentage", "current_phase", "workflow_result", "error_message", "error_details",
        "created_at", "started_at", "finished_at", "duration_ms", "worker_id", "retry_count", "progress_logs",
        "observability",
    }  # fmt: skip
    assert (said["id"], said["worker_id"], said["progress_percentage"]) == (job_id, WORKER, 100)
    editor = client.get(f"/jobs/{job_id}/status", params={"form": "editor"}).json()["workflow_result"]
    assert {node["type"] for node in editor["nodes"]} <= {"custom", "form"}
    assert editor["viewport"] == {"x": 0, "y": 0, "zoom": 1}
    assert client.get(f"/jobs/{job_id}/status", params={"form": "x"}).status_code == 422


def test_process_takes_that_very_job_once_and_says_why_it_cannot(stack: ThreadedStack, client: httpx.Client) -> None:
    later, other = paused(stack, client, 2)
    for call in (f"/jobs/{later}/process", "/jobs/poll"):
        answer = client.post(call)
        assert (answer.status_code, "paused" in answer.json()["error"]) == (503, True)
        assert int(answer.headers["retry-after"]) > 0
    stack.psql(f"update {JOBS} set run_at = now() + interval '1 hour'")
    stack.call(hold(stack))
    client.post("/resume")
    first = client.post(f"/jobs/{later}/process")
    assert (first.status_code, first.json()) == (202, {"status": "processing", "job_id": later, "worker_id": WORKER})
    assert client.post(f"/jobs/{later}/process").json() == first.json()
    busy = client.post(f"/jobs/{other}/process")
    assert (busy.status_code, "slots" in busy.json()["error"]) == (503, True)
    stack.call(release(stack))
    assert ended(client, later)["retry_count"] == 0
    done = client.post(f"/jobs/{later}/process")
    assert (done.status_code, done.json()) == (
        409,
        {"error": "The job is completed; only a pending job can be processed."},
    )
    assert stack.psql(f"select status from {JOBS} where id = '{other}'") == "pending"


def test_poll_takes_what_waits_and_says_so_when_nothing_does(stack: ThreadedStack, client: httpx.Client) -> None:
    assert client.post("/jobs/poll").json() == {"status": "no_jobs", "count": 0, "job_ids": []}
    stack.call(hold(stack))
    (job_id,) = stack.submit("job ")
    stack.call(streaming(stack))
    assert client.post("/jobs/poll").json()["status"] == "no_jobs"
    stack.call(release(stack))
    ended(client, job_id)


def test_a_job_is_cancelled_and_started_again(stack: ThreadedStack, client: httpx.Client) -> None:
    (job_id,) = paused(stack, client)
    assert client.post(f"/jobs/{job_id}/retry").status_code == 409
    for _ in range(2):
        answer = client.post(f"/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["job_id"], answer.json()["status"]) == (202, job_id, "cancelled")
    assert client.post(f"/jobs/{job_id}/retry").json()["status"] == "pending"
    client.post("/resume")
    ended(client, job_id)
    assert client.post(f"/jobs/{job_id}/cancel").json() == {
        "error": "The job is completed; only a pending or processing job can be cancelled."
    }


def test_a_running_job_is_asked_to_stop(stack: ThreadedStack, client: httpx.Client) -> None:
    stack.call(hold(stack))
    (job_id,) = stack.submit("job ")
    stack.call(streaming(stack))
    answer = client.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    ended(client, job_id, "cancelled")


@pytest.mark.parametrize("call", ["GET /jobs/{}/status", "POST /jobs/{}/process", "POST /jobs/{}/cancel",
                                  "POST /jobs/{}/retry"])  # fmt: skip
def test_an_unknown_job_is_404_and_what_is_no_id_422(client: httpx.Client, call: str) -> None:
    method, path = call.split()
    assert client.request(method, path.format("job_nobodys")).status_code == 404
    for wrong in ("a b", "x" * 65, "a'--"):
        answer = client.request(method, path.format(wrong))
        assert (answer.status_code, answer.json()["details"][0].split(":")[0]) == (422, "path.job_id")


def test_a_paused_worker_says_so_and_how_to_go_on(stack: ThreadedStack, client: httpx.Client) -> None:
    paused(stack, client)
    health = client.get("/health")
    assert (health.status_code, health.json()["status"], health.json()["paused"]) == (503, "degraded", True)
    assert health.json()["reasons"] == [f"paused: no job is taken until: consumer resume {WORKER}."]
    assert client.get("/readyz").json() == {"status": "not ready", "reason": "paused"}
    assert client.post("/resume").json() == {"worker_id": WORKER, "paused": False}
    eventually("the job is done", lambda: stack.statuses() == {"completed": 1})
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", [ASK, "/generate-workflow/async"])
def test_a_user_asks_for_a_workflow_and_gets_it(
    stack: ThreadedStack, client: httpx.Client, alice: dict[str, str], path: str
) -> None:
    body = {"description": PROMPT, "config": {"webhookUrl": "https://x.example"}, "executionHistory": []}
    answer = client.post(path, json=body, headers=alice)
    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"job_id", "status", "message", "estimated_completion_time"}
    job_id = answer.json()["job_id"]
    ended(client, job_id)
    said = client.get(f"{STATUS}/{job_id}", headers=alice).json()
    assert (said["job_id"], said["status"], "error" in said) == (job_id, "completed", False)
    assert said["workflow"]["nodes"]
    assert said["observability"]["total_time_ms"] >= 0
    editor = client.get(f"{STATUS}/{job_id}", params={"form": "editor"}, headers=alice).json()["workflow"]
    assert "data" in editor["nodes"][0]
    assert client.get(f"{STATUS}/{job_id}", headers=signed_in(stack)).status_code == 404


def test_the_caller_sees_a_failure_and_only_what_there_is(
    stack: ThreadedStack, client: httpx.Client, alice: dict[str, str]
) -> None:
    client.post("/pause")
    job_id = client.post(ASK, json={"prompt": PROMPT}, headers=alice).json()["job_id"]
    assert set(client.get(f"{STATUS}/{job_id}", headers=alice).json()) == {
        "job_id", "status", "progress_percentage", "current_phase", "created_at", "started_at", "finished_at",
        "duration_ms",
    }  # fmt: skip
    stack.psql(
        f"update {JOBS} set status = 'failed', finished_at = now(), error_message = 'No.', "
        """error_details = '{"code": "INTERNAL"}'""",
        user="supabase_admin",
    )
    said = client.get(f"{STATUS}/{job_id}", headers=alice).json()
    assert (said["error"], said["error_details"], "workflow" in said) == ("No.", {"code": "INTERNAL"}, False)


def test_a_repeated_request_with_its_key_gives_the_same_job(
    stack: ThreadedStack, client: httpx.Client, alice: dict[str, str]
) -> None:
    ids = [client.post(ASK, json={"prompt": PROMPT}, headers={**alice, "Idempotency-Key": "k"}).json()["job_id"]
           for _ in range(2)]  # fmt: skip
    assert ids[0] == ids[1]
    ended(client, ids[0])


BODIES: list[tuple[str, Any, int]] = [
    ("empty_prompt", {"prompt": " "}, 400),
    ("no_prompt", {}, 400),
    ("edit_without_a_workflow", {"prompt": PROMPT, "mode": "edit"}, 400),
    ("too_long", {"prompt": "x" * 20_001}, 422),
    ("unknown_mode", {"prompt": PROMPT, "mode": "delete"}, 422),
    ("config_is_a_list", {"prompt": PROMPT, "config": []}, 422),
    ("nul", {"prompt": "a\0b"}, 422),
    ("lone_surrogate", {"prompt": PROMPT, "config": {"a": "\ud800"}}, 422),
    ("not_a_number", {"prompt": PROMPT, "config": {"a": float("nan")}}, 422),
    ("config_too_large", {"prompt": PROMPT, "config": {str(n): uuid.uuid4().hex for n in range(9000)}}, 422),
    ("too_deep", {"prompt": PROMPT, "config": json.loads('{"a":' * 70 + "1" + "}" * 70)}, 422),
    ("a_list", [], 422),
]


@pytest.mark.parametrize(("body", "code"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES])
def test_a_body_that_cannot_be_worked_on_is_refused_with_the_reason(
    stack: ThreadedStack, client: httpx.Client, alice: dict[str, str], body: Any, code: int
) -> None:
    headers = {**alice, "Content-Type": "application/json"}
    answer = client.post(ASK, content=json.dumps(body).encode(), headers=headers)
    assert (answer.status_code, set(answer.json())) == (code, {"error", "details"}), answer.text
    assert answer.json()["details"]
    assert stack.statuses() == {}


def test_what_is_no_json_is_422_and_too_much_413_before_it_is_read(client: httpx.Client, alice: dict[str, str]) -> None:
    headers = {**alice, "Content-Type": "application/json"}
    assert client.post(ASK, content=b"{", headers=headers).status_code == 422
    for body in (b"x" * (5 * 1024 * 1024 + 1), iter([b'{"prompt": "', b"x" * (6 * 1024 * 1024)])):
        answer = client.post(ASK, content=body, headers=headers)
        assert (answer.status_code, "larger than" in answer.json()["error"]) == (413, True)


def test_the_token_is_asked_for_before_the_body_is_read(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30) as raw:
        raw.sendall(f"POST {ASK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode())
        assert raw.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_a_token_that_is_none_is_401_and_no_log_has_it(
    stack: ThreadedStack, client: httpx.Client, face: tuple[Process, httpx.Client]
) -> None:
    expired = signed_in(stack, expires_in=-3600)
    service = {"Authorization": f"Bearer {stack.stack.keys.service_role}"}
    for headers in ({}, {"Authorization": "Bearer x"}, expired, service):
        for answer in (
            client.post(ASK, json={"prompt": PROMPT}, headers=headers),
            client.get(f"{STATUS}/j", headers=headers),
        ):
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert stack.statuses() == {}
    logs = "\n".join(face[0].lines)
    assert expired["Authorization"][7:] not in logs
    assert PROMPT not in logs


def test_a_user_who_was_deleted_is_told_to_sign_in_again(stack: ThreadedStack, client: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {stack.stack.keys.user_token(str(uuid.uuid4()))}"}
    answer = client.post(ASK, json={"prompt": PROMPT}, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json() == {"error": "The user of the token is no longer there. Sign in again."}


def test_a_path_with_a_slash_too_many_is_unknown_and_sends_nobody_elsewhere(client: httpx.Client) -> None:
    answer = client.get("/workflow-status/job_1/", headers={"Host": "localhost:1"})
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_the_documented_calls_have_names_of_their_own(face: tuple[Process, httpx.Client]) -> None:
    calls = face[1].get("/openapi.json").json()["paths"].values()
    names = Counter(call["operationId"] for path in calls for call in path.values())
    assert set(names.values()) == {1}


def test_a_page_of_another_site_changes_nothing_but_for_origins_that_are_named(client: httpx.Client) -> None:
    foreign: list[dict[str, str]] = [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]  # fmt: skip
    for headers in foreign:
        assert client.post("/jobs/poll", headers=headers).status_code == 403
        assert client.get("/healthz", headers=headers).status_code == 200
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    for headers in ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Origin": ORIGIN}, {"Sec-Fetch-Site": "none"}):
        assert client.post("/jobs/poll", headers=headers).status_code == 200
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = client.options(ASK, headers={"Origin": ORIGIN, **asks})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    refused = client.options(ASK, headers={"Origin": "https://evil.example", **asks})
    assert "access-control-allow-origin" not in refused.headers
    assert client.post(ASK, headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN


def test_while_the_database_is_away_the_calls_say_so_and_when_to_come_again(
    stack: ThreadedStack, client: httpx.Client, alice: dict[str, str]
) -> None:
    with gateway_away(stack):
        answers = [
            client.get("/jobs/j/status"), client.post("/jobs/j/process"), client.post("/jobs/poll"),
            client.post("/jobs/j/cancel"), client.post("/pause"), client.get(f"{STATUS}/j", headers=alice),
            client.post(ASK, json={"prompt": PROMPT}, headers=alice),
        ]  # fmt: skip
        assert client.get("/healthz").status_code == 200
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in answers] == [(503, "15")] * 7
    assert all(answer.json()["error"] for answer in answers)
    eventually("it is healthy again", lambda: client.get("/readyz").status_code == 200)


def test_with_a_token_callers_need_their_own_only_and_everybody_else_the_workers(
    stack: ThreadedStack, tmp_path: Path, alice: dict[str, str]
) -> None:
    token = "not-a-secret-0123456789"
    env = {"WORKER_API_TOKEN": token, "SUPABASE_JWT_SECRET": stack.stack.keys.jwt_secret}
    with listening(stack, tmp_path, **env) as (_, client):
        for path in ("/openapi.json", "/jobs/j/status"):
            assert client.get(path).status_code == client.get(path, headers=alice).status_code == 401
        for path in ("/jobs/poll", "/pause"):
            assert client.post(path).status_code == 401
        known = {"Authorization": f"Bearer {token}", "Origin": "https://evil.example"}
        assert client.post("/jobs/poll", headers=known).status_code == 200
        assert client.get("/openapi.json", headers=known).status_code == 200
        assert client.post(ASK, json={"prompt": PROMPT}, headers=alice).status_code == 202
        assert client.post(ASK, json={"prompt": PROMPT}, headers=known).status_code == 401
        assert client.get(f"{STATUS}/j", headers=alice).status_code == 404


def described(client: httpx.Client) -> Any:
    """The face as it describes itself."""
    return schemathesis.openapi.from_dict(client.get("/openapi.json").json())


def fuzz(operation: Any, url: str, headers: dict[str, str]) -> Counter[int]:
    """Send what the description allows and what it does not; each answer must be as described. Counts the codes."""
    answers: Counter[int] = Counter()

    @FUZZ
    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def sent(case: Any) -> None:
        answer = case.call(base_url=url, headers=headers)
        answers[answer.status_code] += 1
        case.validate_response(answer, excluded_checks=LEFT_OUT)

    sent()
    return answers


def test_every_route_answers_as_it_says_whatever_is_sent(client: httpx.Client, alice: dict[str, str]) -> None:
    answers: Counter[int] = Counter()
    for found in described(client).get_all_operations():
        operation = found.ok()
        headers = alice if "callers" in operation.definition.raw["tags"] else {}
        answers += fuzz(operation, str(client.base_url), headers)
    assert answers[500] == 0
    assert {200, 400, 404, 422} <= set(answers), answers


def test_good_answers_are_as_they_are_described(
    stack: ThreadedStack, client: httpx.Client, alice: dict[str, str]
) -> None:
    routes, url = described(client), str(client.base_url)
    asked = routes[ASK]["POST"].Case(body={"prompt": PROMPT}, media_type="application/json")
    job_id = asked.call_and_validate(base_url=url, headers=alice).json()["job_id"]
    ended(client, job_id)
    (other,) = paused(stack, client)
    for path, of_whom, code in [
        ("GET /workflow-status/{job_id}", job_id, 200), ("GET /jobs/{job_id}/status", job_id, 200),
        ("POST /jobs/{job_id}/cancel", other, 202), ("POST /jobs/{job_id}/retry", other, 202),
        ("POST /jobs/{job_id}/process", job_id, 409), ("POST /jobs/{job_id}/retry", job_id, 409),
    ]:  # fmt: skip
        method, route = path.split()
        case = routes[route][method].Case(path_parameters={"job_id": of_whom})
        answer = case.call(base_url=url, headers=alice)
        assert answer.status_code == code, path
        case.validate_response(answer, excluded_checks=LEFT_OUT)
