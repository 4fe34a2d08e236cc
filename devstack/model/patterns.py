"""Rules for the two awkward corners of a schema: regular expressions and bounds of integers.

Pure. Called by `devstack.model.grammar`.
"""

from __future__ import annotations

import re

# A class, a repetition, an operator (not a look-around), an escaped punctuation mark, or any other single character.
_TOKEN = re.compile(
    r"(?P<keep>\[(?:[^\]\\]|\\[^\w])+\]|\{\d+,?\d*\}|\((?!\?)|[)|*+?])"
    r"|(?P<any>\.)|\\(?P<mark>[^\w])|(?P<char>[^\\\[\]{}()])"
)


def pattern_rule(pattern: str) -> str:
    """The grammar rule of a regular expression without its ^ and $.

    What cannot be said in a grammar (`\\d`, look-arounds) becomes a rule that llama.cpp refuses, as in the real one.
    """
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            return "\\"
        parts.append(_part(token))
        at = token.end()
    return " ".join(parts)


def _part(token: re.Match[str]) -> str:
    if token["keep"]:
        return token["keep"]
    if token["any"]:
        return r"[^\x0A\x0D]"
    mark = token["mark"] or token["char"]
    return '"\\' + mark + '"' if mark in '"\\' else f'"{mark}"'


def span_rule(low: int, high: int) -> str:
    """The decimal integers from `low` to `high`, both included."""
    options = []
    if low < 0:
        options.append(f'"-" ({_digits(max(1, -high), -low)})')
    if high >= 0:
        options.append(_digits(max(low, 0), high))
    return " | ".join(options)


def _digits(low: int, high: int) -> str:
    lengths = range(len(str(low)), len(str(high)) + 1)
    return " | ".join(
        _same_length(str(max(low, 10 ** (n - 1) if n > 1 else 0)), str(min(high, 10**n - 1))) for n in lengths
    )


def _same_length(low: str, high: str) -> str:
    """Numbers between two of equally many digits: the edges digit by digit, what lies between as a class."""
    if not low:
        return '""'
    if low[0] == high[0]:
        return f'"{low[0]}" ({_same_length(low[1:], high[1:])})'
    options, rest, first, last = [], len(low) - 1, int(low[0]), int(high[0])
    if int(low[1:] or 0):
        options.append(f'"{first}" ({_same_length(low[1:], "9" * rest)})')
        first += 1
    if rest and high[1:] != "9" * rest:
        options.append(f'"{last}" ({_same_length("0" * rest, high[1:])})')
        last -= 1
    if first <= last:
        options.append(f"[{first}-{last}] [0-9]{{{rest}}}" if rest else f"[{first}-{last}]")
    return " | ".join(options)
