"""What can go wrong while the embedded stack starts or is used: one clear sentence, and a sysexits code."""

from typing import ClassVar

from consumer.sysexits import EX_DATAERR, EX_UNAVAILABLE


class DevStackError(Exception):
    """The embedded stack cannot start or do what was asked; the message says why and what to do."""

    exit_code: ClassVar[int] = EX_UNAVAILABLE


class RefusedPromptError(DevStackError):
    """The demo's prompt is not one that the table takes."""

    exit_code = EX_DATAERR
