"""The child process that holds one loaded model: llama.cpp's own HTTP server on a free loopback port.

Started by `devstack.model.runner` as a script, so it imports nothing of this package. A process of its own because a
load holds the interpreter's lock from start to end, and because only the end of a process surely gives back its memory.
Protocol: one JSON line of parameters on stdin, one JSON line (`url` or `error`) on stdout; it ends when stdin does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

# Restores the prompts of earlier requests: a request that shares a prefix with any of them starts in 0.07 s, not 2.6 s.
PROMPT_CACHE_MIB = 256


def load(model: str, num_ctx: int, shift: bool) -> Any:
    """A running `xllamacpp.Server`: one slot, one thread (two spin against each other on a busy machine)."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = num_ctx
    params.n_parallel = 1
    params.ctx_shift = shift
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.warmup = False
    params.ui = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def main() -> None:
    """Load what stdin names, say where it listens, and stay until stdin ends."""
    wanted = json.loads(sys.stdin.readline())
    try:
        server = load(wanted["model"], wanted["num_ctx"], wanted["shift"])
    except Exception as error:  # whatever llama.cpp raises is the parent's to report
        print(json.dumps({"error": str(error) or type(error).__name__}), flush=True)  # noqa: T201
        return
    print(json.dumps({"url": server.listening_address}), flush=True)  # noqa: T201
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads stdout any more, and a full pipe would block
    sys.stdin.read()


if __name__ == "__main__":
    try:
        main()
    finally:
        # Also when the parent died during the load and nobody takes the answer: the interpreter's own end would wait
        # for llama.cpp's threads for ever.
        os._exit(0)
