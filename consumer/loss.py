"""Why a Realtime session ended, in a plain sentence, and whether trying again soon can help. Pure.

Called by the session with whatever the client or the server said. No text from here holds the key: of foreign
exceptions only the operating system's words are quoted, since websockets puts the whole URL into some of its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidStatus

# What the server says when waiting does not help but a person can (facts/realtime.md §2.6, traces/realtime.md §1).
_REFUSALS = {
    "Unauthorized": "the key may not read this channel",
    "MalformedJWT": "check SUPABASE_SERVICE_ROLE_KEY",
    "JwtSignatureError": "the key belongs to another project: check SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY",
    "InvalidJWTToken": "the key has expired or is not a server key: check SUPABASE_SERVICE_ROLE_KEY",
    "TenantNotFound": "no such project: check SUPABASE_URL",
    "RealtimeDisabledForTenant": "switch Realtime on in the project's settings",
    "PrivateOnly": 'allow public channels in the project\'s Realtime settings ("Allow public access")',
}
# Comes with a missing migration, but also while the database is in trouble, so it is tried again soon.
_NOT_SUBSCRIBED = "Unable to subscribe to changes"
# The list of what was asked for, which the log would repeat at every try.
_PARAMETERS = re.compile(r": \[event: .*?select: [^]]*\]")
_NOT_SUBSCRIBED_ADVICE = (
    "does the table exist (are all migrations applied), is it in the publication supabase_realtime?"
)
_STATUS = {
    401: "the key was refused: check SUPABASE_SERVICE_ROLE_KEY",
    403: "the project is suspended, or the key may not use Realtime",
    404: "there is no Realtime here: check SUPABASE_URL",
    429: "too many connections or joins in this project",
}
_PERMANENT_STATUS = (401, 403, 404)
_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Loss:
    """The end of a session. `permanent`: it will be the same in a second; a person has to do something."""

    reason: str
    permanent: bool = False


def loss_from_error(error: BaseException, step: str) -> Loss:
    """The loss behind an exception raised while `step`, e.g. "connecting"."""
    match error:
        case InvalidStatus():
            return _refused_handshake(error.response.status_code)
        case ConnectionClosed():
            return Loss(f"the connection was closed (code {error.rcvd.code if error.rcvd else 1006}) while {step}")
        case TimeoutError():
            return Loss(f"no answer in time while {step}")
        case OSError():
            return Loss(f"the network failed while {step}: {_quote(str(error))}")
    return Loss(f"{type(error).__name__} while {step}")


def loss_from_state(state: str, error: Exception | None, step: str) -> Loss:
    """The loss behind a channel state other than SUBSCRIBED; the client wraps what the server said as JSON text."""
    said = _said(error)
    if said is not None:
        return loss_from_words(said)
    if error is not None:
        return loss_from_error(error, step)
    return Loss(f"the channel went {state} while {step}")


def loss_from_words(said: str) -> Loss:
    """The loss behind the server's own words: `Code: text` of a join error, or the message of a `system` frame."""
    code = said.partition(":")[0].strip()
    advice = _REFUSALS.get(code)
    if advice is None and _is_about_the_token(said):
        code, advice = "", _REFUSALS["InvalidJWTToken"]
    if said.startswith(_NOT_SUBSCRIBED):
        return Loss(f'the server said "{_quote(_PARAMETERS.sub("", said))}": {_NOT_SUBSCRIBED_ADVICE}')
    text = f'the server said "{_quote(said)}"'
    return Loss(f"{text}: {advice}" if advice else text, permanent=advice is not None)


def _refused_handshake(status: int) -> Loss:
    advice = _STATUS.get(status, "the server or a proxy in front of it is in trouble")
    return Loss(f"HTTP {status} instead of a WebSocket: {advice}", permanent=status in _PERMANENT_STATUS)


def _is_about_the_token(said: str) -> bool:
    # The texts of `system` errors carry no code (traces/realtime.md "Tokens on a live channel").
    return said.startswith(("Token has expired", ":signature_error", "The token provided", "Fields `role`"))


def _said(error: Exception | None) -> str | None:
    try:
        payload = json.loads(str(error))
    except ValueError:
        return None
    if not isinstance(payload, dict):
        return None
    words = payload.get("reason") or payload.get("message")
    return words if isinstance(words, str) else None


def _quote(text: str) -> str:
    return " ".join(text.split())[:_QUOTE]
