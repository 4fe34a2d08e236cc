"""`consumer …` on a terminal of its own, as a person sees it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import environment


def on_a_terminal(*arguments: str, env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    """Run a command to its end: its exit code, and all that came onto the terminal, 100 columns wide."""
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "consumer", *arguments], cwd=cwd, stdin=subprocess.DEVNULL, stdout=terminal,
        stderr=subprocess.STDOUT, env=environment({"TERM": "xterm", "COLUMNS": "100", **env}),
    ) as process:  # fmt: skip
        os.close(terminal)
        shown = b"".join(_pieces(screen))
    os.close(screen)
    return process.returncode, shown.decode()


def _pieces(screen: int) -> list[bytes]:
    pieces = []
    try:
        while piece := os.read(screen, 4096):
            pieces.append(piece)
    except OSError:  # the other end is closed: how a terminal says that it is over
        pass
    return pieces
