"""The Prefer and Accept headers of a request. Called by `api`, read by `plans` and `respond`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from devstack.rest.errors import RestError

_CHOICES = {
    "resolution": {"merge-duplicates", "ignore-duplicates"},
    "missing": {"default", "null"},
    "return": {"representation", "minimal", "headers-only"},
    "count": {"exact", "planned", "estimated"},
    "handling": {"strict", "lenient"},
}
JSON, OBJECT, CSV = "application/json", "application/vnd.pgrst.object+json", "text/csv"


@dataclass(frozen=True, slots=True)
class Prefer:
    """The preferences that were understood, by name; the order of `_CHOICES` is that of Preference-Applied."""

    values: dict[str, str]

    def __contains__(self, preference: str) -> bool:
        """Whether e.g. `return=minimal` was asked for."""
        name, _, value = preference.partition("=")
        return self.values.get(name) == value

    @property
    def wants_count(self) -> bool:
        """Whether the total is asked for (planned and estimated counts are answered exactly)."""
        return "count" in self.values

    @property
    def max_affected(self) -> int | None:
        """Rows that a strict write may touch at most."""
        strict = self.values.get("handling") == "strict"
        return int(self.values["max-affected"]) if strict and "max-affected" in self.values else None

    def applied(self, names: Iterable[str]) -> dict[str, str]:
        """The Preference-Applied header for a request that honours `names`; empty when none was given."""
        said = [f"{name}={self.values[name]}" for name in (*_CHOICES, "max-affected") if self._honoured(name, names)]
        return {"Preference-Applied": ", ".join(said)} if said else {}

    def _honoured(self, name: str, names: Iterable[str]) -> bool:
        if name == "max-affected" and self.max_affected is None:
            return False
        return name in self.values and name in names


def parse_prefer(headers: Iterable[str]) -> Prefer:
    """Read Prefer headers; unknown preferences are ignored unless `handling=strict`.

    Raises:
        RestError: 400 PGRST122 for an unknown preference under `handling=strict`.
    """
    values: dict[str, str] = {}
    unknown = []
    for part in filter(None, (part.strip() for header in headers for part in header.split(","))):
        name, _, value = part.partition("=")
        if value in _CHOICES.get(name, ()) or (name == "max-affected" and re.fullmatch(r"\d{1,9}", value)):
            values.setdefault(name, value)
        else:
            unknown.append(part)
    if unknown and values.get("handling") == "strict":
        message = "Invalid preferences given with handling=strict"
        raise RestError(400, "PGRST122", message, f"Invalid preferences: {', '.join(unknown)}")
    return Prefer(values)


def choose_media(accept: str | None) -> str:
    """The media type to answer with: JSON, the singular object, or CSV.

    Raises:
        RestError: 406 PGRST107 when none of the accepted types can be made.
    """
    asked = sorted((_ranged(part) for part in (accept or "*/*").split(",")), key=lambda pair: -pair[1])
    for media, _ in asked:
        if media in (JSON, OBJECT, CSV):
            return media
        if media in ("*/*", "application/*", "application/vnd.pgrst.array+json"):
            return JSON
    names = ", ".join(media for media, _ in asked)
    raise RestError(406, "PGRST107", f"None of these media types are available: {names}")


def _ranged(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip() for piece in part.split(";"))
    quality = next((piece[2:] for piece in parameters if re.fullmatch(r"q=[01](\.\d+)?", piece)), "1")
    rest = [piece for piece in parameters if not re.match(r"q=|charset=", piece)]
    return "; ".join([media.lower(), *rest]), float(quality)
