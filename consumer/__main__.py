"""`python -m consumer` is the command `consumer`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["run"]:
        signal.signal(signal.SIGTERM, _stopped)  # until the worker takes over: its imports take a second or more
    from consumer.cli import main as cli

    cli()


def _stopped(number: int, frame: FrameType | None) -> None:
    """A worker that has not begun has nothing to hand back."""
    sys.exit(0)


if __name__ == "__main__":
    main()
