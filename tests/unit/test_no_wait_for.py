"""`asyncio.wait_for` drops a cancellation that meets the end of what it waits for, before Python 3.12 (gh-86296)."""

from __future__ import annotations

import ast
from pathlib import Path

import consumer


def test_the_worker_waits_with_timeouts_that_keep_a_cancellation() -> None:
    for path in Path(consumer.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        used = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "wait_for"]
        assert not used, f"{path}:{used}"
