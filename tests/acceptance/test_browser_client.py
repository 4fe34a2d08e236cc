"""supabase-js in Node: the client that frontends use, against the embedded stack and a real worker process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.node import node_modules
from tests.processes import running_worker
from tests.stacks import ThreadedStack

SCRIPT = Path(__file__).with_name("browser_client.mjs")


@pytest.mark.node
def test_supabase_js_inserts_a_job_and_watches_it_complete(stack: ThreadedStack, tmp_path: Path) -> None:
    node_modules()
    _, token = stack.stack.user("browser@example.com")
    stack.submit("somebody else's ")
    with running_worker(stack.stack.env, tmp_path):
        done = subprocess.run(
            ["node", SCRIPT, stack.stack.url, stack.stack.keys.publishable, token, "When a form is sent, log it"],
            cwd=SCRIPT.parent, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["statuses"][0] == "processing"
    assert seen["statuses"][-1] == "completed"
    assert seen["progress"] == sorted(seen["progress"])
    assert seen["progress"][-1] == 100
    assert seen["nodes"] >= 1
    assert seen["mine"] == 1
    assert seen["forged"] == "42501"
