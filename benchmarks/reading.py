"""`python -m benchmarks.reading`: what reading costs, and whether twice the text takes about twice the time.

A line for each kind of text: CPU milliseconds for 50,000 and 100,000 characters, and the ratio. Nothing is asserted.
"""

from __future__ import annotations

import contextlib
import gc
import time

from consumer.errors import OutputNotJson
from handlers.reading import read_object

SIZES = (50_000, 100_000)
TRIES = 3
# Repeated to the size: what is common, and what is made to be read again and again.
TEXTS = {
    "strict JSON": ('{"a": [', '{"type": "wait", "label": "A"},', "0]}"),
    "a fenced object": ('```json\n{"a": [', '{"type": "wait", "label": "A"},', "0]}\n```"),
    "single quotes": ("{'a': [", "{'type': 'wait', 'label': 'A'},", "0]}"),
    "one long string": ("{'a': '", "x", "'}"),
    "opening braces": ("", "{", ""),
    "opening braces and quotes": ("", "{'", ""),
    "comments that never end": ("", "{/*", ""),
    "strings that never end": ('{"', '\\"{', ""),
    "keys without values": ("", '{"a":', ""),
    "equal objects": ("", '{"a": 1}', ""),
    "thoughts that never end": ("", "<think>{", ""),
    "escaped quotes": ("", '{\\"', ""),
    "backslashes": ("{", "\\", ""),
    "digits": ('{"a":', "1", "x}"),
    "blanks": ("{", " ", "x"),
}


def main() -> None:
    """Measure every kind of text."""
    for name, (head, piece, tail) in TEXTS.items():
        small, large = (_milliseconds(head + piece * (size // len(piece)) + tail) for size in SIZES)
        print(f"{name:26} {small:8.1f} ms {large:8.1f} ms   x {large / small:.1f}")


def _milliseconds(text: str) -> float:
    return min(_once(text) for _ in range(TRIES)) * 1000


def _once(text: str) -> float:
    gc.collect()
    start = time.process_time()
    with contextlib.suppress(OutputNotJson):
        read_object(text)
    return time.process_time() - start


if __name__ == "__main__":
    main()
