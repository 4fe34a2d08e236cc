"""Runs a command as the unit would: no new privileges, no memory that is writable and executable, its system calls.

`python -m tests.jailed UNIT COMMAND…` does what systemd does before it starts the service, as far as a process can do
it to itself. Ends with `UNABLE` where the kernel or its headers cannot.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

UNABLE = 75
HEADERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_MDWE = 38, 22, 65
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # EPERM


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]  # ctypes reads it once


def members(group: str) -> set[str]:
    """The system calls of one of systemd's groups."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager", group]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    names = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return {call for name in names for call in (members(name) if name.startswith("@") else {name})}


def allowed(unit: str) -> set[str]:
    """What the unit's `SystemCallFilter=` lines leave; systemd adds @default."""
    calls = members("@default")
    for line in re.findall(r"^SystemCallFilter=(.+)$", unit, re.MULTILINE):
        groups = {call for group in line.lstrip("~").split() for call in members(group)}
        calls = calls - groups if line.startswith("~") else calls | groups
    return calls


def program(numbers: list[int]) -> bytes:
    """A filter that lets these pass."""

    def step(code: int, if_not: int, value: int) -> bytes:
        return struct.pack("HBBI", code, 0, if_not, value)

    passes = [step(EQUAL, 1, number) + step(RETURN, 0, ALLOW) for number in numbers]
    return b"".join([step(LOAD, 0, 0), *passes, step(RETURN, 0, REFUSE)])


def main() -> None:
    """Lock this process up, then become the command."""
    unit, *command = sys.argv[1:]
    if not HEADERS.is_file():
        sys.exit(UNABLE)
    known = {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", HEADERS.read_text())}
    code = program(sorted(known[name] for name in allowed(Path(unit).read_text()) if name in known))
    held = ctypes.create_string_buffer(code)
    filtering = Filter(len(code) // 8, ctypes.cast(held, ctypes.c_void_p))
    libc = ctypes.CDLL(None)
    steps = [(PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_MDWE, 1, 0), (PR_SET_SECCOMP, 2, ctypes.byref(filtering))]
    if any(libc.prctl(option, value, extra, 0, 0) for option, value, extra in steps):
        sys.exit(UNABLE)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
