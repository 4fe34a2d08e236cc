"""A process whose wall clock is wrong, by the library libfaketime, where its wheel has one."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

HERE = (platform.system(), platform.machine())


def shifted(by: str) -> dict[str, str]:
    """The environment of a process whose wall clock, and only that, is off."""
    spec = find_spec("libfaketime")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    library = Path(spec.submodule_search_locations[0], "vendor", "libfaketime", "src", "libfaketime.so.1")
    return {"LD_PRELOAD": str(library), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
