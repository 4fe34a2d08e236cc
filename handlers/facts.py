"""What a prompt states outright: trigger, times, addresses. Code reads these, so the model is never asked for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from consumer.job import JsonObject

_URL = re.compile(r"https?://[^\s\"'<>(){}\[\]\\^`|]{1,300}")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
_CHANNEL = re.compile(r"(?<![\w/&#])#[a-z][a-z0-9_-]{1,40}\b")
_TIME = re.compile(
    r"(?i)\b(?:at|by|around|um|à|las)\s+(\d{1,2})(?:[:h.](\d{2}))?\s*(am|pm|uhr)?\b|\b(\d{1,2}):(\d{2})\b"
)
_DAYTIME = {"midnight": "00:00", "noon": "12:00", "evening": "18:00", "night": "22:00", "morning": "09:00"}
_ZONE = re.compile(r"\b(?:UTC|(?:Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[A-Za-z_/]{2,40})\b")
_EVERY = re.compile(r"(?i)\bevery\s+(?:(\d{1,4}|other|few)\s+)?(second|minute|min|hour)s?\b|\b(hourly)\b")

# In this order: the first pattern that matches decides (contract §6, triggers).
_TRIGGERS = (
    ("error_trigger", r"(?:another|a|any|the|other|some) workflow (?:fails|crashes|errors|breaks)|workflow failure"),
    (
        "workflow_trigger",
        r"(?:called|started|triggered) (?:by|from) another workflow|when (?:another|the \w+) workflow",
    ),
    ("interval", _EVERY.pattern.removeprefix("(?i)")),
    (
        "schedule",
        r"\b(?:every|each) (?:\w+ )?(?:day|morning|evening|night|noon|weekday|week|month|year)"
        r"|\bjede[nr]? (?:tag|morgen|woche)|\b(?:cada|todos los) (?:d[ií]as?|mañana|semana)"
        r"|\bchaque (?:jour|matin|semaine)|毎[朝日週晩]"
        r"|\b(?:every|each|on) (?:mon|tues|wednes|thurs|fri|satur|sun)"
        r"|\b(?:daily|weekly|nightly|monthly|at midnight|at noon)\b|\bon a schedule\b|^at \d",
    ),
    ("manual_trigger", r"\b(?:manually|manual(?: trigger| start)?|on demand|i (?:click|press)|button)\b"),
    (
        "form",
        r"\b(?:sign-?up|contact|registration|feedback|web|online|survey|application|order|lead|intake|request) form\b"
        r"|\b(?:a|the|this|our|my|html|custom) form\b|\bform (?:is |gets |trigger|submission|with|for|asking|where)"
        r"|\bformular|\bsurvey\b|\bquestionnaire\b",
    ),
    (
        "chat_trigger",
        r"\bchat ?(?:bot|message|trigger|window|widget)\b|\b(?:in|from|via|on) (?:the |a )?chat\b"
        r"|\bwhen (?:someone|a user|a customer|somebody) (?:asks|writes|chats|types)",
    ),
    (
        "webhook",
        r"(?<!slack )(?<!discord )(?<!teams )\bwebhook\b|\bhttp (?:call|request) (?:comes|arrives|is received)"
        r"|\b(?:incoming|receives?|receiving) (?:an? )?(?:http|post|api|data|request|payload)|\bpost request to\b",
    ),
    # Something happens elsewhere: only a webhook lets another system tell us.
    (
        "webhook",
        r"\b(?:when|whenever|once|if|after|as soon as|on) (?:\w+ ){0,2}?(?:an?|the|new|any|every|each)\b[^.,;]{0,60}?"
        r"\b(?:arrives?|comes|created|placed|received|added|opened|posted|happens|fails|uploaded|paid|updated"
        r"|signs? up|changes|submitted|is)\b",
    ),
)
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _TRIGGERS)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the prompt states. `trigger` is None when no words decide it."""

    trigger: str | None = None
    trigger_config: JsonObject = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


def read_facts(prompt: str) -> Facts:
    """Everything stated in the prompt, by plain patterns; linear in its length."""
    trigger = next((name for name, pattern in _COMPILED if pattern.search(prompt)), None)
    return Facts(
        trigger=trigger,
        trigger_config=_trigger_config(trigger, prompt),
        urls=_unique(url.rstrip(".,;:!?") for url in _URL.findall(prompt)),
        emails=_unique(email.rstrip(".") for email in _EMAIL.findall(prompt)),
        channels=_unique(_CHANNEL.findall(prompt)),
    )


def _unique(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))[:8]


def _trigger_config(trigger: str | None, prompt: str) -> JsonObject:
    if trigger == "interval":
        return {"interval": _interval(prompt)}
    if trigger == "schedule":
        zone = _ZONE.search(prompt)
        time = _time(prompt)
        return {**({"time": time} if time else {}), **({"timezone": zone[0]} if zone else {})}
    return {}


def _interval(prompt: str) -> str:
    match = _EVERY.search(prompt)
    if match is None or match[3]:
        return "1h"
    count = {"other": "2", "few": "5", None: "1"}.get(match[1], match[1])
    return f"{count}{match[2][0].lower()}"


def _time(prompt: str) -> str | None:
    for match in _TIME.finditer(prompt):
        hour, minute = int(match[1] or match[4]), int(match[2] or match[5] or 0)
        half = (match[3] or "").lower()
        hour = hour % 12 + 12 * (half == "pm") if half in ("am", "pm") else hour
        if hour < 24 and minute < 60:
            return f"{hour:02d}:{minute:02d}"
    return next((time for word, time in _DAYTIME.items() if re.search(rf"(?i)\b{word}\b", prompt)), None)
