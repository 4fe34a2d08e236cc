"""Keys and tokens of the embedded project: the JWT secret, the API keys, users' tokens.

Both generations of API keys are accepted, as a hosted gateway does: JWTs, and `sb_publishable_…` / `sb_secret_…`.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

import jwt

TEN_YEARS = 10 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of one embedded project. JWTs are HS256, as on a project with a legacy secret."""

    jwt_secret: str
    publishable: str
    secret: str

    @classmethod
    def fresh(cls) -> Keys:
        """New random keys."""
        return cls(
            secrets.token_hex(32), f"sb_publishable_{secrets.token_hex(16)}", f"sb_secret_{secrets.token_hex(16)}"
        )

    def token(self, role: str, *, expires_in: float = TEN_YEARS, **claims: Any) -> str:
        """A signed JWT for a database role; `expires_in` in seconds, `claims` such as `sub` and `email`."""
        now = int(time.time())
        payload = {"iss": "devstack", "role": role, "iat": now, "exp": int(now + expires_in), **claims}
        return jwt.encode(payload, self.jwt_secret, algorithm="HS256")

    def user_token(self, user_id: str, *, expires_in: float = 3600, **claims: Any) -> str:
        """The access token of a signed-in user, shaped like GoTrue's."""
        return self.token("authenticated", expires_in=expires_in, sub=user_id, aud="authenticated", **claims)

    @property
    def anon(self) -> str:
        """The legacy `anon` key."""
        return self.token("anon")

    @property
    def service_role(self) -> str:
        """The legacy `service_role` key."""
        return self.token("service_role")

    def exchange(self, key: str) -> str:
        """What a hosted gateway passes on for an API key: a JWT for `sb_…` keys, anything else unchanged."""
        if secrets.compare_digest(key.encode(), self.secret.encode()):
            return self.token("service_role", expires_in=3600)
        if secrets.compare_digest(key.encode(), self.publishable.encode()):
            return self.token("anon", expires_in=3600)
        return key
