"""A stack per module, empty for every test; workers are real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.held import HeldStack, held_stack
from tests.stacks import ThreadedStack, threaded_stack


@pytest.fixture(scope="module")
def instant_stack() -> Iterator[ThreadedStack]:
    """The embedded stack with the instant model stub, for tests of the worker around the model."""
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture
def stack(instant_stack: ThreadedStack) -> Iterator[ThreadedStack]:
    """The module's stack without jobs and without a held model."""
    assert instant_stack.instant is not None
    instant_stack.clear()
    instant_stack.instant.hold = None
    yield instant_stack
    instant_stack.call(release(instant_stack))


@pytest.fixture(scope="module")
def module_held() -> Iterator[HeldStack]:
    """A stack whose model's loads and streams a test can hold."""
    with held_stack() as stack:
        yield stack


@pytest.fixture
def held(module_held: HeldStack) -> HeldStack:
    """The same without jobs, and with nothing held."""
    module_held.reset()
    return module_held


async def release(stack: ThreadedStack) -> None:
    """Let held streams go on."""
    assert stack.instant is not None
    if stack.instant.hold is not None:
        stack.instant.hold.set()


async def hold(stack: ThreadedStack) -> None:
    """Hold every stream after its first tokens."""
    assert stack.instant is not None
    stack.instant.hold = asyncio.Event()
    stack.instant.began.clear()


async def streaming(stack: ThreadedStack) -> None:
    """Until a held stream has begun."""
    assert stack.instant is not None
    await stack.instant.began.wait()
