"""`python -m benchmarks.edits [CASES]`: the labelled edits with the small model in place of the written answers.

A line for each case: seconds, the nodes that are gone though nobody asked, those that moved or got another type, and
what changed. About 5 s a case on two cores. Ends with 1 when a node was lost.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path

from consumer.cases import Case
from consumer.errors import JobError, WorkflowInvalid
from consumer.job import Job, JsonObject
from consumer.ollama import ModelOptions, Ollama
from consumer.ollama_reply import Answer
from consumer.ports import CodeStep, ModelRequest
from devstack.model import ModelServer
from handlers.existing import read_existing
from handlers.registry import handler_for
from schemas.catalog import Catalog

FOLDER = Path(__file__).parents[1] / "tests" / "corpus" / "edits"
MODEL = "tiny:135m"


async def measure(most: int) -> int:
    """Run the cases, each request once; returns how many nodes were lost."""
    server, lost, ran, failed = ModelServer(names=(MODEL,)), 0, 0, 0
    await server.start()
    ollama = Ollama(server.url, options=ModelOptions(num_ctx=4096))
    try:
        for case in cases()[:most]:
            began = time.monotonic()
            gone, said = await run(ollama, case)
            lost, ran, failed = lost + len(gone), ran + 1, failed + (said[:7] == "refused")
            print(f"{case['name']:34} {time.monotonic() - began:5.1f} s  lost {gone or 'none'}; {said}", flush=True)
    finally:
        await ollama.aclose()
        await server.stop()
    print(f"{ran} edits, {failed} refused by the validator, {lost} nodes lost")
    return lost


def cases() -> list[JsonObject]:
    """One case for each request of the corpus."""
    lines = (line for file in sorted(FOLDER.glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines())
    every = [json.loads(line) for line in lines]
    return list({json.dumps([case["prompt"], case["current_workflow"]]): case for case in every}.values())


async def run(ollama: Ollama, case: JsonObject) -> tuple[list[str], str]:
    """The nodes lost without being asked for, and what else happened."""
    job = Case(
        id=case["name"], prompt=case["prompt"], mode="edit", config=case.get("config"),
        current_workflow=case["current_workflow"],
    ).job()  # fmt: skip
    try:
        flow = await edited(ollama, job)
    except WorkflowInvalid as invalid:
        return [], f"refused: {', '.join(violation.code for violation in invalid.violations)}"
    except JobError as error:
        return [], f"refused: {error}"
    before = {node.id: node for node in read_existing(case["current_workflow"], Catalog.load()).nodes}
    after = {node["id"]: node for node in flow["nodes"]}
    gone = [name for name in before if name not in after and name not in case["may_go"]]
    kept = before.keys() & after.keys()
    moved = [name for name in kept if before[name].position != after[name]["position"]]
    retyped = [name for name in kept if before[name].type != after[name]["type"]]
    removed, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    return gone, f"moved {moved or 'none'}, retyped {retyped or 'none'}, removed {removed}, new {new}"


async def edited(ollama: Ollama, job: Job) -> JsonObject:
    """The workflow after the edit step with the model and the validate step; edits need no analysis."""
    _, build, validate = handler_for("edit").steps
    assert not isinstance(build, CodeStep) and isinstance(validate, CodeStep)
    text = await answered(ollama, build.request(job, {}, 0))
    flow: JsonObject = validate.run(job, {"generate": build.read(job, {}, text)})["workflow"]
    return flow


async def answered(ollama: Ollama, request: ModelRequest) -> str:
    """The model's whole answer."""
    text = ""
    async with aclosing(ollama.chat(MODEL, request)) as pieces:
        async for piece in pieces:
            text = piece.text if isinstance(piece, Answer) else text
    return text


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100)) else 0)
