"""Programs of Debian's packages for the tests that need them: `.ci/packages` installs them; elsewhere they skip."""

from __future__ import annotations

import shutil

import pytest

# program: package
PACKAGES = {
    "chromium": "chromium",
    "promtool": "prometheus",
    "redis-server": "redis-server",
    "systemd-analyze": "systemd",
}


def program(name: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {PACKAGES[name]})")
    return path
