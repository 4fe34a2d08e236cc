"""Mends misspelled key words ("evry", "webhok", "emial"), so that plain patterns find them. Used by facts, search."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]{4,12}(?![A-Za-z])")
# Words that decide a trigger or a service; shorter ones turn into other words too easily ("from" for "form").
_KEY_WORDS = (
    *("every", "daily", "weekly", "monthly", "hourly", "morning", "evening", "midnight", "weekday", "schedule"),
    *("webhook", "manually", "button", "chatbot", "survey"),
    *("slack", "email", "gmail", "google", "sheet", "sheets", "telegram", "discord", "notion", "airtable", "whatsapp"),
    *("otherwise", "summarize"),
)
# Slips of the key words that are words or names of their own.
_OTHER_WORDS = frozenset(("ever", "eery", "sack", "mourning", "emil", "gail", "daly"))


def spelled(text: str) -> str:
    """The text with its key words spelled right; everything else, and the length in words, as it was."""
    slips = _slips()
    return _WORD.sub(lambda match: slips.get(match[0].lower(), match[0]), text)


@cache
def _slips() -> dict[str, str]:
    """From each slip to its word. A slip that could be two words, or is one, is none."""
    found: dict[str, set[str]] = {}
    for word in _KEY_WORDS:
        for slip in _slips_of(word):
            found.setdefault(slip, set()).add(word)
    known = _OTHER_WORDS | set(_KEY_WORDS)
    return {slip: words.pop() for slip, words in found.items() if len(words) == 1 and slip not in known}


def _slips_of(word: str) -> Iterator[str]:
    """One letter left out, doubled, or swapped with the next; never the first, which people hit."""
    for index in range(1, len(word)):
        yield word[:index] + word[index + 1 :]
        yield word[: index + 1] + word[index:]
        yield word[:index] + word[index + 1 : index + 2] + word[index] + word[index + 2 :]
