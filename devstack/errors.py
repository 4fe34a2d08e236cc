"""What can go wrong while the embedded stack starts or is used: one clear sentence, and a sysexits code."""

from typing import ClassVar


class DevStackError(Exception):
    """The embedded stack cannot start or do what was asked; the message says why and what to do."""

    exit_code: ClassVar[int] = 69


class RefusedPromptError(DevStackError):
    """The demo's prompt is not one that the table takes."""

    exit_code = 65
