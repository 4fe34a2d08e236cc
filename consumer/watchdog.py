"""Watches one answer grow and stops a model that repeats itself. Pure; fed by `consumer.ollama_reply`.

"fact" is traces/ollama.md.
"""

from __future__ import annotations

import re
import string
import zlib
from collections import deque

from consumer.errors import ModelStalledLoop


class Watchdog:
    """The signs of a loop. The cost is linear in the text, the memory bounded.

    - The last 200 characters are a piece of at most 50 over and over.
    - More than 64 blanks in a row.
    - The same object, or the same run of up to 6 objects, 5 times in a row (see `ObjectRuns`).
    - Asked for at an early end: 31 equal pieces, at which Ollama's own guard gives up in silence (fact 9).

    The text is looked at in strides of a fixed length, so the verdict depends on the text and not on how it was cut.
    """

    WINDOW = 200
    PERIOD = 50
    BLANKS = 64
    EQUAL_PIECES = 31
    # A loop runs on for at most so many characters, some ten tokens, before it is seen.
    STRIDE = 32

    def __init__(self) -> None:
        self._ahead = ""
        self._tail = ""
        self._piece = ""
        self._equal = 0
        self._objects = ObjectRuns()

    def feed(self, text: str) -> None:
        """Take the next piece.

        Raises:
            ModelStalledLoop: the model is stuck.
        """
        piece = text.strip()
        self._equal = self._equal + 1 if piece == self._piece else 1
        self._piece = piece
        self._ahead += text
        if len(self._ahead) >= self.STRIDE:
            self._advance()

    @property
    def gave_up(self) -> bool:
        """Whether the last pieces are as equal as those at which Ollama's guard ends a stream."""
        return self._equal >= self.EQUAL_PIECES

    def _advance(self) -> None:
        text = self._ahead
        end = len(text) - len(text) % self.STRIDE
        self._ahead = text[end:]
        for at in range(0, end, self.STRIDE):
            self._look(text[at : at + self.STRIDE])

    def _look(self, stride: str) -> None:
        self._tail = (self._tail + stride)[-self.WINDOW - self.PERIOD :]
        if _BLANK_RUN.search(self._tail):
            raise ModelStalledLoop(f"the model wrote more than {self.BLANKS} blanks in a row")
        if self._is_periodic():
            raise ModelStalledLoop(f"the last {self.WINDOW} characters of the answer repeat one short piece")
        self._objects.feed(stride)

    def _is_periodic(self) -> bool:
        """The window, found again at most `PERIOD` characters earlier, repeats what lies between."""
        if len(self._tail) < self.WINDOW + self.PERIOD:
            return False
        return self._tail.find(self._tail[self.PERIOD :]) < self.PERIOD


_BLANK_RUN = re.compile(rf"\s{{{Watchdog.BLANKS + 1},}}")


class ObjectRuns:
    """Finds objects that come again and again, like a node that differs from the last one in its number only.

    Compared is the text between one `}` and the next, without blanks and digits; of each, a checksum is kept. What
    is shorter than 16 characters then is passed over: the second of `}}`, or a point, `,{"x":-.,"y":-.`.
    """

    TIMES = 5
    LONGEST_RUN = 6
    SHORTEST = 16

    def __init__(self) -> None:
        self._sum = 0
        self._size = 0
        self._last = deque[int](maxlen=self.LONGEST_RUN)
        # By length of the run: how many objects in a row equal the one that long ago.
        self._equal = [0] * (self.LONGEST_RUN + 1)

    def feed(self, text: str) -> None:
        """Take the next piece of the answer, cut anywhere.

        Raises:
            ModelStalledLoop: the same objects came `TIMES` times in a row.
        """
        first, *others = text.translate(_NO_BLANKS_NO_DIGITS).split("}")
        self._grow(first)
        for other in others:
            if self._size >= self.SHORTEST:
                self._compare(self._sum)
            self._sum = self._size = 0
            self._grow(other)

    def _grow(self, text: str) -> None:
        self._sum = zlib.crc32(text.encode(errors="surrogatepass"), self._sum)
        self._size += len(text)

    def _compare(self, checksum: int) -> None:
        for length, earlier in enumerate(reversed(self._last), start=1):
            self._equal[length] = self._equal[length] + 1 if checksum == earlier else 0
            if self._equal[length] >= length * (self.TIMES - 1):
                raise ModelStalledLoop(f"the answer repeats the same run of {length} object(s) {self.TIMES} times")
        self._last.append(checksum)


_NO_BLANKS_NO_DIGITS = dict.fromkeys(map(ord, string.whitespace + string.digits))
