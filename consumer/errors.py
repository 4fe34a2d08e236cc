"""Every error of this product, in one tree. Nothing of httpx, postgrest or websockets leaves its adapter.

ConsumerError
├── SetupError                 the program cannot do its work as it was started; `exit_code` is a sysexits code
│   ├── ConfigurationError     78: a setting, a key, a migration or a model is wrong or missing
│   └── ServiceUnavailable     69: a server does not answer
├── StoreError                 the database did not do what was asked
│   ├── StoreUnavailable       away, overloaded or timed out: the outcome is unknown, repeat the call
│   └── StoreRefused           it understood and said no: repeating cannot help
└── JobError                   one attempt cannot go on; `code` is one of the contract's error codes
    ├── InputInvalid · PromptTooLong                                    the job itself is wrong: never retried
    ├── ModelUnavailable · ModelNotFound · ModelOverloaded              the model server is not ready: no attempt burnt
    ├── ModelOutOfMemory · ModelTimeout · ModelStalledLoop              this try went wrong: try again, changed
    ├── OutputTruncated · OutputNotJson · WorkflowInvalid               the answer is unusable: try again, changed
    └── JobCancelled · LeaseLost · AttemptsExhausted · InternalError (RequestRefused)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import ClassVar, Literal, NamedTuple

from consumer.sysexits import EX_CONFIG, EX_UNAVAILABLE

Clock = Literal["load", "first_token", "between_tokens", "total"]


class ErrorCode(StrEnum):
    """The codes of `error_details.code` (contract §4)."""

    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    MODEL_OVERLOADED = "MODEL_OVERLOADED"
    MODEL_OUT_OF_MEMORY = "MODEL_OUT_OF_MEMORY"
    MODEL_TIMEOUT = "MODEL_TIMEOUT"
    MODEL_STALLED_LOOP = "MODEL_STALLED_LOOP"
    OUTPUT_TRUNCATED = "OUTPUT_TRUNCATED"
    OUTPUT_NOT_JSON = "OUTPUT_NOT_JSON"
    PROMPT_TOO_LONG = "PROMPT_TOO_LONG"
    WORKFLOW_INVALID = "WORKFLOW_INVALID"
    INPUT_INVALID = "INPUT_INVALID"
    CANCELLED = "CANCELLED"
    LEASE_LOST = "LEASE_LOST"
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
    INTERNAL = "INTERNAL"


class ConsumerError(Exception):
    """Base of everything this product raises on purpose."""


class SetupError(ConsumerError):
    """The program cannot do its work as it was started; the message is one line that says what to do."""

    exit_code: ClassVar[int]


class ConfigurationError(SetupError):
    """A setting, a key, a migration or a model is wrong or missing."""

    exit_code = EX_CONFIG


class ServiceUnavailable(SetupError):
    """A server this program depends on does not answer."""

    exit_code = EX_UNAVAILABLE


class StoreError(ConsumerError):
    """The database did not do what was asked."""


class StoreUnavailable(StoreError):
    """The database is away, overloaded or timed out: whether the call took effect is unknown, so repeat it."""


class StoreRefused(StoreError):
    """The database understood the call and refused it: repeating cannot help. `code` is its SQLSTATE or PGRST code."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code

    @property
    def about_the_data(self) -> bool:
        """Whether it is the data that cannot be stored or read, and not the caller, the key or the schema."""
        return self.code is not None and self.code.startswith(("22", "23", "UNREADABLE"))


class Violation(NamedTuple):
    """A broken rule of the workflow contract: which, where (JSON pointer), what is wrong and what would fix it."""

    code: str
    pointer: str
    message: str
    fix: str
    severity: Literal["error", "warning"] = "error"

    def as_json(self) -> dict[str, str]:
        """The shape stored in `error_details.violations`."""
        return self._asdict()


class JobError(ConsumerError):
    """One attempt cannot go on. `str(error)` is for operators, `public` for the person who asked."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    public: ClassVar[str] = "Something went wrong on our side while building the workflow."

    @property
    def details(self) -> Mapping[str, object]:
        """What `error_details` says beside code, phase and attempt."""
        return {}


class InputInvalid(JobError):
    """The job's own input is wrong; the message names the field, the reason and the way out."""

    code = ErrorCode.INPUT_INVALID

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field

    @property
    def details(self) -> Mapping[str, object]:
        """Which column is wrong."""
        return {"field": self.field}


class PromptTooLong(JobError):
    """The prompt does not fit into the model's context."""

    code = ErrorCode.PROMPT_TOO_LONG
    public = "The request is too long for the model. Shorten the description or the workflow to edit."


class ModelUnavailable(JobError):
    """The model server does not answer, or broke off.

    `in_work`: it had the model loaded and broke off over this very request, which may be the request's fault.
    """

    in_work = False
    code = ErrorCode.MODEL_UNAVAILABLE
    public = "The model server is not available."


class ModelNotFound(JobError):
    """The model is not on the model server."""

    code = ErrorCode.MODEL_NOT_FOUND
    public = "The model is not installed on the model server."


class ModelOverloaded(JobError):
    """The model server's queue is full."""

    code = ErrorCode.MODEL_OVERLOADED
    public = "The model server is overloaded."


class ModelOutOfMemory(JobError):
    """The model server ran out of memory."""

    code = ErrorCode.MODEL_OUT_OF_MEMORY
    public = "The model server ran out of memory."


class ModelTimeout(JobError):
    """A clock of the model call ran out; `clock` says which."""

    code = ErrorCode.MODEL_TIMEOUT
    public = "The model took too long to answer."

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__(f"the model call passed its {clock.replace('_', '-')} clock of {seconds:g} s")
        self.clock, self.seconds = clock, seconds

    @property
    def details(self) -> Mapping[str, object]:
        """Which clock ran out."""
        return {"clock": self.clock}


class ModelStalledLoop(JobError):
    """The model repeats itself and was cut off."""

    code = ErrorCode.MODEL_STALLED_LOOP
    public = "The model got stuck repeating itself."


class OutputTruncated(JobError):
    """The answer stopped at the token limit."""

    code = ErrorCode.OUTPUT_TRUNCATED
    public = "The model's answer was cut off before it was complete."


class OutputNotJson(JobError):
    """The answer is not the JSON that was asked for."""

    code = ErrorCode.OUTPUT_NOT_JSON
    public = "The model's answer was not usable."


class WorkflowInvalid(JobError):
    """The workflow breaks rules of the contract, listed in `violations`."""

    code = ErrorCode.WORKFLOW_INVALID
    public = "No valid workflow could be built from this request."

    def __init__(self, violations: Sequence[Violation]) -> None:
        codes = ", ".join(sorted({violation.code for violation in violations}))
        super().__init__(f"{len(violations)} violation(s): {codes}")
        self.violations = tuple(violations)

    @property
    def details(self) -> Mapping[str, object]:
        """The broken rules."""
        return {"violations": [violation.as_json() for violation in self.violations]}


class JobCancelled(JobError):
    """The user asked to stop."""

    code = ErrorCode.CANCELLED
    public = "The job was cancelled."


class LeaseLost(JobError):
    """Another attempt owns the job now, or it was settled elsewhere."""

    code = ErrorCode.LEASE_LOST


class AttemptsExhausted(JobError):
    """All retries are spent."""

    code = ErrorCode.ATTEMPTS_EXHAUSTED


class InternalError(JobError):
    """A defect of this program."""


class RequestRefused(InternalError):
    """The model server calls the request wrong: the same one would fail again."""
