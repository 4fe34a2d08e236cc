"""A stack with the instant model stub per module, empty for every test; a module may make its own instead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stacks import ThreadedStack, threaded_stack


@pytest.fixture(scope="module")
def module_stack() -> Iterator[ThreadedStack]:
    """The module's stack."""
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture
def stack(module_stack: ThreadedStack) -> ThreadedStack:
    """The module's stack without jobs."""
    module_stack.clear()
    return module_stack
