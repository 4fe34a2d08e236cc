"""What a prompt states outright: trigger, times, addresses. Code reads these, so the model is never asked for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from consumer.job import JsonObject
from handlers.spelling import spelled
from handlers.times import interval_of
from handlers.triggers import TRIGGERS

_URL = re.compile(r"https?://[^\s\"'<>(){}\[\]\\^`|]{1,300}")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
_CHANNEL = re.compile(r"(?<![\w/&#])#[a-z][a-z0-9_-]{1,40}\b")
# A number is a time with a word before it ("at 9"), a unit behind it ("9 Uhr", "9時"), or minutes ("9:30").
_TIME = re.compile(
    r"(?i)(?:\b(at|by|around|um|à|às|las|om)\s+|(午後|下午|오후)\s*)?(?<![a-z0-9_.:-])(\d{1,2})"
    r"(?:([:h.])(\d{2}))?(?!\d)\s*(?:(am|pm|uhr|uur)\b|([時点點时]|시(?!간)|बजे))?"
)
_DAYTIME = {"midnight": "00:00", "noon": "12:00", "evening": "18:00", "night": "22:00", "morning": "09:00"}
_ZONE = re.compile(r"\b(?:UTC|(?:Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[A-Za-z_/]{2,40})\b")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the prompt states. `trigger` is None when no words decide it."""

    trigger: str | None = None
    trigger_config: JsonObject = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@lru_cache(maxsize=16)  # each step of a job asks anew, and 20,000 characters take a quarter of a second
def read_facts(prompt: str) -> Facts:
    """Everything stated in the prompt, by plain patterns; linear in its length."""
    text = spelled(prompt).strip()
    trigger = next((name for name, pattern in TRIGGERS if pattern.search(text)), None)
    return Facts(
        trigger=trigger,
        trigger_config=_trigger_config(trigger, text),
        urls=_unique(url.rstrip(".,;:!?") for url in _URL.findall(prompt)),
        emails=_unique(email.rstrip(".") for email in _EMAIL.findall(prompt)),
        channels=_unique(_CHANNEL.findall(prompt)),
    )


def _unique(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))[:8]


def _trigger_config(trigger: str | None, prompt: str) -> JsonObject:
    if trigger == "interval":
        return {"interval": interval_of(prompt)}
    if trigger == "schedule":
        zone = _ZONE.search(prompt)
        time = _time(prompt)
        return {**({"time": time} if time else {}), **({"timezone": zone[0]} if zone else {})}
    return {}


def _time(prompt: str) -> str | None:
    for match in _TIME.finditer(prompt):
        word, afternoon, number, mark, minutes, half, unit = match.groups()
        if not (word or half or unit or mark == ":"):
            continue
        hour, minute, half = int(number), int(minutes or 0), (half or "").lower()
        if afternoon or half in ("am", "pm"):
            hour = hour % 12 + 12 * (half != "am")
        if hour < 24 and minute < 60:
            return f"{hour:02d}:{minute:02d}"
    return next((time for word, time in _DAYTIME.items() if re.search(rf"(?i)\b{word}\b", prompt)), None)
