"""Why an answer is not read. Raised by handlers/near_json.py and tolerant.py, told by reading.py."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why an answer is not read, in words that never quote it."""

    EMPTY = "it is empty"
    NO_OBJECT = "there is no JSON object in it"
    ONLY_THOUGHT = "it holds only the model's thinking, or the thinking never ends"
    LIST = "it is a list of several things, not one object"
    SEVERAL = "it holds several objects that differ"
    PART = "the only object in it is a part of something that cannot be read"
    BROKEN = "the object in it breaks the rules of JSON in a way that can be read differently"
    CUT = "it ends in the middle of a value, a key or an empty bracket"
    LEFT_OUT = "an ellipsis stands where something was left out"
    CONTRADICTION = "it gives a key twice, with values that differ"
    NOT_FINITE = "it holds NaN or Infinity"
    NUMBER_TOO_LONG = "it holds a number with too many digits"
    TOO_DEEP = "it is nested too deeply"


class Unreadable(Exception):
    """There is no one way to read the value that starts here.

    `at`: where reading stopped. `is_object`: whether it had begun like an object; if not, it is a bracket in prose.
    """

    def __init__(self, refusal: Refusal, at: int = 0, is_object: bool = True) -> None:
        super().__init__(str(refusal))
        self.refusal, self.at, self.is_object = refusal, at, is_object
