"""What an operator does about a job that failed: one sentence per error code. Pure.

Called by the page; the person who asked reads `error_message` instead.
"""

from __future__ import annotations

from consumer.errors import ErrorCode

_THEN = "Then retry the job."
_CLOCKS = {
    "load": "The model took too long to load: look at `ollama ps` and the disk, or raise OLLAMA_LOAD_TIMEOUT.",
    "first_token": "The prompt took too long to read: does the model run on the CPU (`ollama ps`)? "
    "Or raise OLLAMA_FIRST_TOKEN_TIMEOUT.",
    "between_tokens": "The model fell silent in the middle of an answer: look at Ollama's log, "
    "or raise OLLAMA_BETWEEN_TOKENS_TIMEOUT.",
    "total": "The answer took too long as a whole: use a smaller model, or raise OLLAMA_TIMEOUT or JOB_TIMEOUT.",
}
_ADVICE = {
    ErrorCode.MODEL_UNAVAILABLE: f"Is Ollama running at OLLAMA_LOCAL_URL? Try: systemctl restart ollama. {_THEN}",
    ErrorCode.MODEL_NOT_FOUND: f"Install the models: ollama pull, once for each of ANALYZE_MODEL and GENERATE_MODEL. "
    f"{_THEN}",
    ErrorCode.MODEL_OVERLOADED: f"Something else uses this Ollama too: stop it, or give each worker its own. {_THEN}",
    ErrorCode.MODEL_OUT_OF_MEMORY: f"Free memory on the model server, use a smaller model, or lower OLLAMA_NUM_CTX. "
    f"{_THEN}",
    ErrorCode.MODEL_TIMEOUT: f"A clock of the model call ran out: look at `ollama ps` and Ollama's log. {_THEN}",
    ErrorCode.MODEL_STALLED_LOOP: "The model repeated itself: retry the job; if it happens often, use another model.",
    ErrorCode.OUTPUT_TRUNCATED: f"The answer did not fit: raise OLLAMA_NUM_CTX. {_THEN}",
    ErrorCode.OUTPUT_NOT_JSON: "The model gave no JSON: retry the job; if it happens often, use another model.",
    ErrorCode.PROMPT_TOO_LONG: "Its user has to shorten the request; or raise OLLAMA_NUM_CTX, and retry the job.",
    ErrorCode.WORKFLOW_INVALID: "The violations below say which rules were broken. Retry the job; "
    "if it happens often, use a larger model.",
    ErrorCode.INPUT_INVALID: "Its user has to change the request: a retry would fail again.",
    ErrorCode.CANCELLED: "It was cancelled on request. Retry the job if that was a mistake.",
    ErrorCode.LEASE_LOST: f"Its worker stopped answering: look at that worker's log. {_THEN}",
    ErrorCode.ATTEMPTS_EXHAUSTED: "All its retries are spent: the attempts below say why. Mend that, then retry it.",
    ErrorCode.INTERNAL: "A defect of the worker: keep the lines of its log about this job, and report them.",
}


def advice(code: object, clock: object = None) -> str:
    """What to do about a job with this `error_details.code`; `clock` says which one of a MODEL_TIMEOUT ran out."""
    if code == ErrorCode.MODEL_TIMEOUT and clock in _CLOCKS:
        return f"{_CLOCKS[str(clock)]} {_THEN}"
    known = code in list(ErrorCode)
    return _ADVICE[ErrorCode(str(code))] if known else "Look at the worker's log for this job, then retry it."
