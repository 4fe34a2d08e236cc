"""Every reply that is an error, of both generations, becomes a named class with a named policy."""

from __future__ import annotations

import json

import pytest

from consumer.errors import (
    JobError,
    ModelNotFound,
    ModelOutOfMemory,
    ModelOverloaded,
    ModelStalledLoop,
    ModelUnavailable,
    OutputNotJson,
    PromptTooLong,
    RequestRefused,
)
from consumer.job import Failed, Outcome, Released, Retry
from consumer.ollama_wire import MAX_ERROR_CHARS, RULES, classify, error_text
from consumer.outcome import RetryPolicy, decide
from tests.ollama_replay import RECORDED, Recording
from tests.unit.handlers_kit import job

# What becomes of a job that meets the error, at its first try and with its retries spent. «Released» waits for the
# model server and burns no attempt, unless the server had the model loaded and broke off over this very request.
POLICIES: dict[type[JobError], tuple[type[Outcome], type[Outcome]]] = {
    PromptTooLong: (Failed, Failed),
    ModelNotFound: (Released, Released),
    ModelOverloaded: (Released, Released),
    ModelUnavailable: (Released, Released),
    ModelOutOfMemory: (Retry, Failed),
    ModelStalledLoop: (Retry, Failed),
    OutputNotJson: (Retry, Failed),
    RequestRefused: (Failed, Failed),
}

# Recorded error replies by what they become; a trace name stands for both generations unless it names one.
EXPECTED: dict[type[JobError], set[str]] = {
    PromptTooLong: {
        "ctx.over.truncate_false.rendered", "ctx.over.shift_false.rendered", "ctx.over.history.truncate_false.rendered",
    },
    ModelNotFound: {
        "name.no_tag", "err.unknown_model", "err.bad_model_name", "load_failure.truncated_blob",
        "load_failure.blob_missing",
    },
    ModelOverloaded: {"queue.other.3"},
    OutputNotJson: {"pattern.7.native"},
    ModelUnavailable: {
        "unknown_route", "wrong_method", "host_header_foreign", "kill.while_loading", "kill.waiting_request",
        "kill.streaming_request", "kill.runner_sigkill.midstream", "kill.runner_sigkill.stream_false",
        "0.24/pattern.4.rendered",
    },
    RequestRefused: {
        "format.other_string.rendered", "format.number.rendered", "format.array.rendered", "format.bad_type.rendered",
        "format.bad_ref.rendered", "format.bad_pattern.rendered", "format.bad_type.native", "format.bad_ref.native",
        "format.bad_pattern.native", "err.empty_model", "err.malformed_json", "err.malformed_json2", "err.empty_body",
        "err.wrong_type_messages", "err.content_not_string", "err.option_type.num_ctx_string",
        "err.option_type.temperature_string", "err.option_type.stop_string", "err.think_true", "err.tools_unsupported",
        "err.keep_alive_bad", "err.keep_alive_bool", "err.stream_string", "keep_alive.minus1_string",
        "pattern.2.rendered", "pattern.2.native", "0.33/pattern.4.rendered", "pattern.6.rendered", "pattern.6.native",
    },
}  # fmt: skip


def is_error(recording: Recording) -> bool:
    """A status other than 200, or an error as the last line of a stream."""
    return recording.status not in (200, None) or '{"error":' in (recording.body or ("",))[-1][:9]


ERRORS = [recording for recording in RECORDED.values() if is_error(recording)]


def policy_of(error: JobError) -> tuple[type[object], type[object]]:
    first, last = (decide(error, job(retry_count=count, max_retries=3), "analyze", RetryPolicy()) for count in (0, 3))
    return type(first), type(last)


def error_of(recording: Recording) -> JobError:
    assert recording.status is not None
    last = recording.body[-1].encode() if recording.body else b""
    return classify(recording.status, error_text(last), "mistral:7b")


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.trace)
def test_every_recorded_error_is_of_the_expected_class_and_has_its_policy(recording: Recording) -> None:
    generation, _, name = recording.trace.partition("/")
    expected = [kind for kind, names in EXPECTED.items() if {name, f"{generation}/{name}"} & names]
    error = error_of(recording)
    assert [type(error)] == expected
    assert policy_of(error) == POLICIES[expected[0]]
    if isinstance(error, ModelUnavailable):
        error.in_work = True
        assert policy_of(error) == (Retry, Failed)


def test_the_table_of_expectations_names_only_recorded_errors() -> None:
    recorded = {recording.trace for recording in ERRORS} | {recording.trace[5:] for recording in ERRORS}
    assert set.union(*EXPECTED.values()) <= recorded
    assert {recording.trace[:4] for recording in ERRORS} == {"0.24", "0.33"}


# Not in the recordings: GPU texts, later versions, proxies in between (facts/ollama.md §1.3, §1.5, §3).
UNRECORDED: list[tuple[int, str, type[JobError]]] = [
    (500, "model requires more system memory (9.1 GiB) than is available (3.5 GiB)", ModelOutOfMemory),
    (500, "llama runner process has terminated: cudaMalloc failed: out of memory", ModelOutOfMemory),
    (500, "llama-server process has terminated: error: unable to allocate CUDA0 buffer", ModelOutOfMemory),
    (500, "memory layout cannot be allocated", ModelOutOfMemory),
    (200, "an error was encountered while running the model: CUDA error: out of memory", ModelOutOfMemory),
    (200, "prediction aborted, token repeat limit reached", ModelStalledLoop),
    (500, "prediction aborted, token repeat limit reached", ModelStalledLoop),
    (500, "timed out waiting for llama-server to start", ModelUnavailable),
    (500, "something never seen", ModelUnavailable),
    (200, "", ModelUnavailable),
    (429, "", ModelOverloaded),
    (499, "request canceled", ModelUnavailable),
    (502, "<html>Bad Gateway</html>", ModelUnavailable),
    (503, "<html>no backend</html>", ModelUnavailable),
    (504, "", ModelUnavailable),
    (401, "", ModelUnavailable),
    (302, "", ModelUnavailable),
    (404, "<html>model airplanes</html>", ModelUnavailable),
    (400, "never seen", RequestRefused),
    (500, "invalid file magic", ModelNotFound),
    (400, "invalid model name", ModelNotFound),
    (500, 'option "num_ctx" must be of type integer', RequestRefused),
]


def row_of(status: int, text: str) -> int:
    return next(row for row, rule in enumerate(RULES) if status in rule.statuses and rule.text.search(text))


def test_every_row_of_the_table_is_met_by_a_text_whose_class_and_policy_are_tested() -> None:
    recorded = [
        (recording.status or 0, error_text(recording.body[-1].encode())) for recording in ERRORS if recording.body
    ]
    met = {row_of(status, text) for status, text in (*recorded, *((status, text) for status, text, _ in UNRECORDED))}
    assert met == set(range(len(RULES)))
    assert {rule.error for rule in RULES} == set(POLICIES)


@pytest.mark.parametrize(("status", "text", "expected"), UNRECORDED)
def test_texts_that_were_not_recorded_have_a_class_and_a_policy_too(
    status: int, text: str, expected: type[JobError]
) -> None:
    error = classify(status, text, "mistral:7b")
    assert type(error) is expected
    assert policy_of(error) == POLICIES[expected]


def test_no_status_is_without_a_class_and_its_policy() -> None:
    for status in range(100, 600):
        error = classify(status, "", "mistral:7b")
        assert policy_of(error) == POLICIES[type(error)]


def test_the_message_names_the_model_the_reason_and_the_way_out() -> None:
    error = str(classify(404, "model 'nosuch:7b' not found", "nosuch:7b"))
    assert error == (
        "the model server said of 'nosuch:7b' (HTTP 404): model 'nosuch:7b' not found; run: ollama pull nosuch:7b"
    )


def test_a_text_of_any_length_is_bounded() -> None:
    text = error_text(json.dumps({"error": "invalid format: " + "x" * 100_000}).encode())
    assert len(str(classify(500, text, "m"))) < MAX_ERROR_CHARS + 200
