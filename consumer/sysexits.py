"""The exit codes of every command, in one place: those of sysexits.h, and three that it does not have.

Click itself ends a command line that it cannot read with 2.
"""

from __future__ import annotations

# A comparison that was asked for found a difference (`eval --baseline`, `replay`).
EX_DIFFERENT = 1
EX_USAGE = 2
# The data is wrong, or what was asked for ended badly: a broken workflow, a failed job, a job in the wrong state.
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_IOERR = 74
EX_CONFIG = 78
# As a shell reports SIGINT.
EX_INTERRUPTED = 130
