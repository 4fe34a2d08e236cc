from __future__ import annotations

import json

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus, InvalidURI
from websockets.frames import Close
from websockets.http11 import Response

from consumer.loss import loss_from_error, loss_from_state, loss_from_words


def status(code: int) -> InvalidStatus:
    return InvalidStatus(Response(code, "", Headers()))


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refused_handshake_waits_for_a_person(code: int) -> None:
    loss = loss_from_error(status(code), "connecting")
    assert loss.permanent
    assert f"HTTP {code}" in loss.reason


@pytest.mark.parametrize("code", [429, 500, 502, 503, 530])
def test_a_server_in_trouble_is_tried_again_soon(code: int) -> None:
    assert not loss_from_error(status(code), "connecting").permanent


# The texts of the real server (traces/realtime.md §1), and whether a person has to do something.
@pytest.mark.parametrize(
    ("said", "permanent"),
    [
        ("InvalidJWTToken: Token has expired 86400 seconds ago", True),
        ("JwtSignatureError: Failed to validate JWT signature", True),
        ("MalformedJWT: The token provided is not a valid JWT", True),
        ("Unauthorized: You do not have permissions to read from this Channel topic: X", True),
        ("PrivateOnly: This project only allows private channels", True),
        ("Token has expired 0 seconds ago", True),
        (":signature_error", True),
        ("ConnectionRateLimitReached: Too many connected users", False),
        ("InitializingProjectConnection: Realtime is initializing", False),
        ("Unknown Error on Channel", False),
        ("Unable to subscribe to changes with given parameters. Please check Realtime is enabled", False),
        ("Too many messages per second", False),
    ],
)
def test_the_servers_words_are_quoted_and_judged(said: str, permanent: bool) -> None:
    loss = loss_from_words(said)
    assert loss.permanent is permanent
    assert said in loss.reason


def test_what_was_asked_for_is_not_repeated_at_every_try_but_the_servers_exception_is() -> None:
    asked = '[event: INSERT, schema: public, table: jobs, filters: [{"id", "eq", "1", false}], select: nil]'
    begun = "Unable to subscribe to changes with given parameters. An exception happened so please check your connect"
    loss = loss_from_words(f"{begun} parameters: {asked}. Exception: ERROR P0001 (raise_exception) no such column")
    assert f'"{begun} parameters. Exception: ERROR P0001 (raise_exception) no such column"' in loss.reason
    assert "supabase_realtime" in loss.reason


def test_the_words_are_found_inside_what_the_client_makes_of_a_join_error() -> None:
    error = Exception(json.dumps({"reason": "TenantNotFound: no such tenant"}))
    loss = loss_from_state("CHANNEL_ERROR", error, "joining")
    assert loss.permanent
    assert "check SUPABASE_URL" in loss.reason


def test_the_words_are_found_inside_what_the_client_makes_of_a_system_frame() -> None:
    payload = {"channel": "jobs", "extension": "system", "message": "Too many messages per second", "status": "error"}
    assert "Too many messages per second" in loss_from_state("CHANNEL_ERROR", Exception(json.dumps(payload)), "").reason


def test_a_close_is_named_by_its_code() -> None:
    closed = ConnectionClosedError(Close(1012, "service restart"), None)
    cut = ConnectionClosedError(None, None)
    assert "1012" in loss_from_state("CHANNEL_ERROR", closed, "listening").reason
    assert "1006" in loss_from_state("CHANNEL_ERROR", cut, "listening").reason


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "{}", '{"reason": 7}', "not json"])
def test_whatever_the_client_wraps_a_sentence_comes_out(text: str) -> None:
    assert loss_from_state("CHANNEL_ERROR", Exception(text), "joining").reason


def test_a_state_without_a_reason_says_what_was_going_on() -> None:
    assert loss_from_state("TIMED_OUT", None, "joining").reason == "the channel went TIMED_OUT while joining"


def test_an_error_that_quotes_the_url_does_not_leak_the_key() -> None:
    error = InvalidURI("wss://host:99999/realtime/v1/websocket?apikey=the-key", "port out of range")
    assert "the-key" not in loss_from_error(error, "connecting").reason


def test_a_long_text_of_the_server_is_cut() -> None:
    assert len(loss_from_words("x" * 100_000).reason) < 400
