"""Checks the Supabase JWT of a caller before anything is asked of the database, which checks it again.

Used by the routes that act as their caller. HS256 with SUPABASE_JWT_SECRET; ES256 and RS256 with the keys that the
project publishes, fetched when a token names one that is not known, and kept. A token is never logged and never part of
an error.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import jwt
from jwt.algorithms import AllowedPublicKeys
from loguru import logger
from pydantic import SecretStr

from consumer.errors import ConsumerError
from consumer.hosts import is_local

JWKS_PATH = "/auth/v1/.well-known/jwks.json"
ROLE = AUDIENCE = "authenticated"
LONGEST_TOKEN = 8192
# Seconds that clocks may differ; PostgREST allows as many (traces/postgrest.md §3).
LEEWAY = 30
_ALGORITHMS = ("ES256", "RS256")
_LARGEST_ANSWER = 65_536


class TokenRefused(ConsumerError):
    """The token is not one of a signed-in user of this project; the message says why, in words for the caller."""


class KeysUnavailable(ConsumerError):
    """The project's keys cannot be fetched, so the token can be neither accepted nor refused."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, and the token that speaks for them."""

    user_id: str
    token: SecretStr


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds: keys are fetched again after `keep`, and for an unknown key id or after a failure at most every `pause`.

    Supabase's own edge keeps the key set for 10 minutes; a key that was revoked is forgotten as soon.
    """

    keep: float = 600.0
    pause: float = 30.0
    timeout: float = 5.0


class PublishedKeys:
    """The project's public keys by their ids."""

    def __init__(
        self, url: str, freshness: Freshness | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url + JWKS_PATH
        self._freshness = freshness or Freshness()
        self._transport = transport
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = -float("inf")
        self._away = False
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key with this id; None when the project has none.

        Raises:
            KeysUnavailable: it is not known, and the project does not answer.
        """
        async with self._fetching:
            now = time.monotonic()
            stale = now - self._fetched_at > self._freshness.keep
            if (stale or key_id not in self._keys) and now - self._tried_at > self._freshness.pause:
                self._tried_at = now
                await self._fetch()
        if key_id not in self._keys and self._away:
            raise KeysUnavailable("the project's keys cannot be fetched")
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        """What is known stays while the project is away."""
        try:
            self._keys = _usable(await self._answer())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            logger.warning("the project's JWT keys could not be fetched: {}", type(error).__name__)
            self._away = True
        else:
            self._fetched_at, self._away = time.monotonic(), False

    async def _answer(self) -> bytes:
        proxies = not is_local(urlsplit(self._url).hostname or "")
        timeout = self._freshness.timeout
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(trust_env=proxies, timeout=timeout, transport=self._transport) as client,
            client.stream("GET", self._url) as answer,
        ):
            if answer.status_code == httpx.codes.NOT_FOUND:
                return b'{"keys": []}'  # a project that has the one secret only
            answer.raise_for_status()
            found = b""
            async for piece in answer.aiter_bytes():
                found += piece
                if len(found) > _LARGEST_ANSWER:
                    raise ValueError("too large")
        return found


class CallerTokens:
    """Tells signed-in users of the project from everybody else."""

    def __init__(self, secret: SecretStr | None, keys: PublishedKeys) -> None:
        self._secret = secret
        self._keys = keys

    async def caller(self, authorization: str) -> Caller:
        """Who sends this Authorization header.

        Raises:
            TokenRefused: nobody that is known; the message says why.
            KeysUnavailable: that cannot be said now.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise TokenRefused("Send the header: Authorization: Bearer and the access token of a signed-in user.")
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused("The token is too long to be one.")
        try:
            key, algorithm = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token, key, algorithms=[algorithm], audience=AUDIENCE, leeway=LEEWAY,
                options={"require": ["exp", "sub", "aud"]},
            )  # fmt: skip
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The token has expired. Sign in again.") from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("The token is not for signed-in users: its audience is another.") from None
        except (jwt.PyJWTError, ValueError):
            raise TokenRefused("The token is not valid for this project.") from None
        if claims.get("role") != ROLE:
            raise TokenRefused("The token is not one of a signed-in user: its role is another.")
        return Caller(_user_id(claims["sub"]), SecretStr(token))

    async def _key(self, header: dict[str, object]) -> tuple[AllowedPublicKeys | bytes, str]:
        """The key and the one algorithm that goes with it: a token never chooses how a key is used."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == "HS256":
            if self._secret is None:
                raise TokenRefused(
                    "Tokens signed with HS256 cannot be checked: this worker has no SUPABASE_JWT_SECRET."
                )
            return self._secret.get_secret_value().encode(), "HS256"
        if algorithm not in _ALGORITHMS:
            raise TokenRefused("The token is signed in a way that is not accepted.")
        found = await self._keys.find(key_id) if isinstance(key_id, str) and key_id else None
        if found is None or found.algorithm_name != algorithm:
            raise TokenRefused("The token is signed with a key that the project does not publish.")
        return found.key, found.algorithm_name


def _user_id(subject: object) -> str:
    """As the database writes it."""
    try:
        return str(uuid.UUID(str(subject)))
    except ValueError:
        raise TokenRefused("The token is not one of a signed-in user: its subject is no user id.") from None


def _usable(answer: bytes) -> dict[str, jwt.PyJWK]:
    """The keys for the algorithms that we take; others are passed over.

    Raises:
        ValueError: this is no key set.
    """
    found = json.loads(answer)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no key set")
    usable = {}
    for each in keys:
        try:
            key = jwt.PyJWK.from_dict(each)
        except (jwt.PyJWTError, AttributeError, TypeError, ValueError):
            continue
        if key.key_id and key.algorithm_name in _ALGORITHMS:
            usable[key.key_id] = key
    return usable
