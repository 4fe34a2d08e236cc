""" "Perhaps you meant …": the nearest known name. Called by `rpc` and `cache`.

Scored as the fuzzy sets of PostgREST are, so that the same typos get the same hints (trace args-near-name ff.): names
whose pieces of three, else of two characters are alike enough are candidates, and the smallest edit distance wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import sqrt

ENOUGH = 0.33


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, None when nothing is near."""
    candidates = sorted(set(known))
    for size in (3, 2):
        pieces = _pieces(name, size)
        similar = [other for other in candidates if _cosine(pieces, _pieces(other, size)) >= ENOUGH]
        scored = [(_likeness(name, other), other) for other in similar]
        if near := [pair for pair in scored if pair[0] >= ENOUGH]:
            return max(near)[1]
    return None


def _pieces(text: str, size: int) -> Counter[str]:
    plain = f"-{''.join(filter(str.isalnum, text.lower()))}-"
    return Counter(plain[at : at + size] for at in range(len(plain) - size + 1))


def _cosine(left: Counter[str], right: Counter[str]) -> float:
    common = sum(count * right[piece] for piece, count in left.items())
    lengths = sqrt(sum(n * n for n in left.values()) * sum(n * n for n in right.values()))
    return common / lengths if lengths else 0.0


def _likeness(left: str, right: str) -> float:
    """1 − edit distance / length of the longer one, between 0 and 1."""
    left, right = left.lower()[:100], right.lower()[:100]
    row = list(range(len(right) + 1))
    for i, char in enumerate(left, 1):
        previous, row = row, [i]
        for j, other in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (char != other)))
    return 1 - row[-1] / max(len(left), len(right), 1)
