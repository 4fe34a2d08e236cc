"""How the doctor works: named checks, each under a clock, side by side as far as they do not need one another.

Called by `doctor`. A check gives a finding, or raises one of our errors, which becomes one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from consumer.errors import ConsumerError, ModelNotFound, SetupError
from consumer.job import JsonObject
from consumer.sysexits import EX_CONFIG, EX_UNAVAILABLE

# The end of a message of ours, which says what to do.
_WAY_OUT = re.compile(r"(?<!e\.g)[.;] (?=[A-Z`])")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found and what to do about it. `exit_code` is that of a failure: 78 or 69."""

    status: Literal["ok", "warning", "failed", "skipped"]
    found: str
    advice: str = ""
    exit_code: int = 0
    name: str = ""

    def as_json(self) -> JsonObject:
        """As `consumer doctor --json` prints it."""
        return {"name": self.name, "status": self.status, "found": self.found, "advice": self.advice}

    def __str__(self) -> str:
        stop = "" if self.found.endswith((".", "?")) else "."
        return f"{self.status:8} {self.name:20} {self.found}" + (f"{stop} {self.advice}" if self.advice else "")


@dataclass(frozen=True, slots=True)
class Check:
    """`look` gives the finding, within `seconds`; not before the checks in `needs` are well and those in `after` over.

    Both name earlier checks.
    """

    name: str
    look: Callable[[], Awaitable[Finding]]
    needs: Sequence[str] = ()
    after: Sequence[str] = ()
    seconds: float = 30.0


def ok(found: str) -> Finding:
    """As it should be."""
    return Finding("ok", found)


def warning(found: str, advice: str) -> Finding:
    """Work goes on, but somebody should look at it."""
    return Finding("warning", found, advice)


def failed(found: str, advice: str, exit_code: int) -> Finding:
    """Work stands still, or will."""
    return Finding("failed", found, advice, exit_code)


def skipped(found: str) -> Finding:
    """Not looked at, and why."""
    return Finding("skipped", found)


async def examine(checks: Sequence[Check], tell: Callable[[Finding], None] = lambda finding: None) -> list[Finding]:
    """Run all checks; `tell` gets each finding in their order, as soon as those before it are there."""
    begun: dict[str, asyncio.Task[Finding]] = {}
    findings = []
    for check in checks:
        begun[check.name] = asyncio.create_task(_finding(check, dict(begun)), name=f"check {check.name}")
    try:
        for task in begun.values():
            findings.append(await task)
            tell(findings[-1])
    finally:  # no task group: what `tell` raises is the caller's, as it is
        for task in begun.values():
            task.cancel()
        await asyncio.gather(*begun.values(), return_exceptions=True)
    return findings


def exit_code(findings: Sequence[Finding]) -> int:
    """78 when something is set up wrong, else 69 when something is away, else 0."""
    codes = {finding.exit_code for finding in findings}
    return EX_CONFIG if EX_CONFIG in codes else max(codes, default=0)


async def _finding(check: Check, earlier: Mapping[str, asyncio.Task[Finding]]) -> Finding:
    for name in check.after:
        await earlier[name]
    for name in check.needs:
        if (await earlier[name]).status in ("failed", "skipped"):
            return replace(skipped(f"needs {name}"), name=check.name)
    return replace(await _looked(check), name=check.name)


async def _looked(check: Check) -> Finding:
    try:
        async with asyncio.timeout(check.seconds):
            return await check.look()
    except TimeoutError:
        return failed(
            f"no end within {check.seconds:g} s", "Look at the log and the load of what was asked", EX_UNAVAILABLE
        )
    except ConsumerError as error:
        return _from_error(error)
    except Exception as error:  # one check's defect must not hide what the others find
        return failed(f"a defect of this check: {type(error).__name__}", "Report it", EX_UNAVAILABLE)


def _from_error(error: ConsumerError) -> Finding:
    text = str(error).rstrip(".")
    code = EX_CONFIG if isinstance(error, ModelNotFound) else EX_UNAVAILABLE
    parts = _WAY_OUT.split(text)
    found, advice = (text[: -len(parts[-1]) - 2], parts[-1]) if len(parts) > 1 else (text, "")
    return failed(found, advice, error.exit_code if isinstance(error, SetupError) else code)
