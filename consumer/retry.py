"""How long to wait before the next try: growing waits with jitter. The one module that uses the package `backoff`.

Called by the listener (reconnects), the dispatcher (claims) and `outcome` (retries of a job).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import backoff

# A job's retry waits its full delay plus up to this share of it, so that jobs that failed together come back apart.
_JOB_JITTER = 0.25
_JOB_CAP = 3600.0


def full_jitter(base: float = 1.0, cap: float = 60.0) -> Iterator[float]:
    """Seconds to wait before each further try, without end: anything from 0 to min(base * 2**n, cap)."""
    return map(backoff.full_jitter, _doubling(base, cap))


def retry_delay(retries: int, base: float = 1.0) -> float:
    """Seconds before retry number `retries` (from 0) of a job: base * 2**retries, and up to a quarter more.

    The contract's 1, 2, 4 s for a base of 1 (contract §1); never over an hour and a quarter.
    """
    delay = next(islice(_doubling(base, _JOB_CAP), retries, None))
    return delay + backoff.full_jitter(delay * _JOB_JITTER)


def _doubling(base: float, cap: float) -> Iterator[float]:
    values = backoff.expo(base=2, factor=base, max_value=cap)
    next(values)  # The package's generators yield nothing useful before their first real value.
    return values
