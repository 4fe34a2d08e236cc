"""The fault points are silent unless a test of this process arms them."""

from __future__ import annotations

import inspect

import pytest

from consumer import faults
from consumer.faults import FaultPoint, reached
from consumer.job import Job


@pytest.mark.parametrize("point", FaultPoint)
def test_nothing_happens_at_a_point_by_default(point: FaultPoint) -> None:
    assert faults.hook is None
    reached(point)


def test_an_armed_point_tells_the_test_where_the_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[FaultPoint, Job | None]] = []
    monkeypatch.setattr(faults, "hook", lambda point, job: seen.append((point, job)))
    reached(FaultPoint.EVENT_HEARD)
    assert seen == [(FaultPoint.EVENT_HEARD, None)]


def test_no_setting_and_no_environment_can_arm_one() -> None:
    imported = {name for name, value in vars(faults).items() if inspect.ismodule(value)}
    assert imported == set()
