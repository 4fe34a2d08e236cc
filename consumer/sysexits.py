"""The exit codes of every command, in one place: those of sysexits.h, and a few that it does not have."""

from __future__ import annotations

EX_OK = 0
EX_DIFFERENT = 1
# Click's own; sysexits.h has 64.
EX_USAGE = 2
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_CONFIG = 78
# As a shell reports SIGINT.
EX_INTERRUPTED = 130

MEANINGS = {
    EX_OK: "done",
    EX_DIFFERENT: "a comparison found a difference (`eval --baseline`, `replay`); or nobody reads the output any more",
    EX_USAGE: "the command line is wrong",
    EX_DATAERR: "the data is wrong: a broken workflow, a failed job, a job in the wrong state, a violated rule",
    EX_NOINPUT: "there is no such job, worker or file",
    EX_UNAVAILABLE: "a server does not answer, a worker is not healthy, or a port cannot be had",
    EX_CANTCREAT: "a file cannot be written",
    EX_IOERR: "standard output cannot be written",
    EX_TEMPFAIL: "the job is back in the queue (`process`, `poll`)",
    EX_CONFIG: "a setting, a key, a migration or a model is wrong or missing",
    EX_INTERRUPTED: "interrupted by Ctrl-C",
}
