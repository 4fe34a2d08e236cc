"""Finds the node types that words speak of: a lexical search over the catalogue. Used by the plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from handlers.spelling import spelled
from schemas.catalog import Catalog, NodeType

_WORD = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
# "Send X when Y": what stands after the last of these words happens first.
_TURN = re.compile(r"(?i)(?<=\S)\s+(?:when|whenever|once|after|as soon as|every time|each time)\s+")
_OTHERWISE = re.compile(r"\b(?:otherwise|else|if not|sonst|sinon|de lo contrario)\b")
_FROM = re.compile(r"[^.,;]{0,40}\b(?:of|from)\b[^.,;]{0,24}")
# "Switch on the department: …" lists ways; "switch on the lights" does not.
_CASES = re.compile(
    r"\b(?:switch|branch|split|route|decide) (?:on|by) (?:the |its |their )?[a-z]{1,30}(?: [a-z]{1,30})?:"
)
# Parts of type names that say nothing.
_EMPTY = ("with", "node", "agent", "engine", "system", "data", "item", "list", "text", "file", "message")
_LOGIC = ("if_else", "switch", "loop", "filter", "wait")
# Where in the text, and which type.
Spot = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Found:
    """Types that the text names beyond doubt, in the order of events, and types it may mean, best first.

    `otherwise`: those of `named` that stand behind "otherwise": they belong to the other branch.
    """

    named: tuple[str, ...]
    hinted: tuple[str, ...]
    otherwise: frozenset[str]


@cache
def _patterns(catalog: Catalog) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((node.name, _any_of(node.names)) for node in catalog if node.names and not node.trigger)


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """Whole words; the borders are ASCII, since scripts without blanks run into the name of a service.

    "FTP-Server" and "GPT-4" name theirs; "log-in" and "Zendesk-like" do not.
    """
    words = "|".join(re.escape(phrase) for phrase in phrases)
    return re.compile(rf"(?<![a-z0-9_-])(?:{words})s?(?![a-z0-9_]|-(?:in|on|off|out|up|of|like)\b)")


def find(prompt: str, hints: str, catalog: Catalog) -> Found:
    """Search the user's prompt (names and words) and the model's own hints (words only)."""
    text = spelled(reordered(prompt)).lower()
    spots = [(match.start(), name) for name, pattern in _patterns(catalog) if (match := pattern.search(text))]
    if (ways := _CASES.search(text)) is not None and not any(name == "switch" for _, name in spots):
        spots.append((ways.start(), "switch"))
    named = _with_request(_by_source(sorted(spots), text), text, catalog)
    other = _OTHERWISE.search(text)
    return Found(
        named=tuple(name for _, name in named),
        # One word may hint when nothing is named; beside what is named it takes more.
        hinted=_hinted(f"{text} {hints.lower()}", catalog, 1.5 if named else 0.5, {name for _, name in named}),
        otherwise=frozenset(name for spot, name in named if other is not None and spot > other.start()),
    )


@lru_cache(maxsize=8)
def named_types(text: str, catalog: Catalog) -> frozenset[str]:
    """The steps' types that a text in small letters names, in no order."""
    return frozenset(name for name, pattern in _patterns(catalog) if pattern.search(text))


def _by_source(spots: list[Spot], text: str) -> list[Spot]:
    """ "Summarize the articles of the feed" reads the feed first."""
    for index in range(len(spots) - 1):
        (first, one), (second, two) = spots[index : index + 2]
        if one not in _LOGIC and _FROM.fullmatch(text[first:second]):
            spots[index : index + 2] = [(first, two), (second, one)]
    return spots


def _with_request(spots: list[Spot], text: str, catalog: Catalog) -> list[Spot]:
    """A URL that no named type takes is for an HTTP request."""
    url = text.find("http")
    if url < 0 or "://" not in text[url : url + 8] or any(_takes_url(catalog[name]) for _, name in spots):
        return spots
    return sorted([*spots, (url, "http_request")])


def _takes_url(node: NodeType) -> bool:
    return any(field.required and field.name in ("url", "feedUrl") for field in node.fields)


def reordered(prompt: str) -> str:
    """ "Send a mail when a row is added" as "a row is added, Send a mail"; other texts as they are."""
    parts = _TURN.split(prompt, maxsplit=1)
    if len(parts) != 2 or len(prompt) > 600 or "." in parts[0]:
        return prompt
    return f"{parts[1]} , {parts[0]}"


def _hinted(text: str, catalog: Catalog, least: float, named: set[str]) -> tuple[str, ...]:
    words = set(_WORD.findall(text))
    scores = {
        node.name: _score(node, words, catalog) for node in catalog if not node.trigger and node.name not in named
    }
    best = sorted(scores, key=lambda name: -scores[name])
    return tuple(name for name in best if scores[name] >= least)


def _score(node: NodeType, words: set[str], catalog: Catalog) -> float:
    own = _vocabulary(catalog)[node.name]
    counts = _frequency(catalog)
    return sum(1 / counts[word] for word in own & words)


@cache
def _vocabulary(catalog: Catalog) -> dict[str, frozenset[str]]:
    return {node.name: frozenset((*_telling(node.name), *node.words)) for node in catalog}


def _telling(name: str) -> list[str]:
    return [word for word in name.split("_") if len(word) > 3 and word not in _EMPTY]


@cache
def _frequency(catalog: Catalog) -> dict[str, int]:
    counts: dict[str, int] = {}
    for words in _vocabulary(catalog).values():
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return counts
