"""Tokens of the HTTP API: random secrets of 256 bits, of which only the hash is stored.

A plain SHA-256 suffices for secrets that cannot be guessed; slow hashes are for passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from qmrunner.errors import NotFoundError, UsageError
from qmrunner.store import events
from qmrunner.store.tables import tokens

SCOPES = ("read", "write", "admin")  # each includes the ones before it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FIRST = "admin"  # name of the token that an operator's secret makes
_SECRET = re.compile(r"[!-~]{32,256}")
_PREFIX = "qmr_"  # so that scanners for leaked secrets recognise it


@dataclass(frozen=True, slots=True)
class Token:
    """One token without its secret. `created_at` is Unix seconds."""

    name: str
    scope: str
    created_at: float


def add(connection: Connection, now: float, name: str, scope: str) -> str:
    """A new token. Returns its secret, which cannot be read again.

    Raises UsageError `bad_token_name`, `unknown_scope`, `token_exists`.
    """
    if not may_be_named(name):
        raise UsageError(
            "bad_token_name",
            f"{name!r} cannot be the name of a token",
            remedy="use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    if scope not in SCOPES:
        raise UsageError("unknown_scope", f"unknown scope {scope!r}", remedy=f"known are {', '.join(SCOPES)}")
    if connection.execute(select(tokens.c.name).where(tokens.c.name == name)).first() is not None:
        raise UsageError(
            "token_exists",
            f"there is a token {name} already",
            remedy=f"choose another name, or revoke it first: `qmrunner token revoke {name}`",
        )
    secret = _PREFIX + secrets.token_urlsafe(32)
    _insert(connection, now, name, scope, secret)
    return secret


def add_first(connection: Connection, now: float, secret: str) -> bool:
    """Add an admin token with a secret that an operator chose, unless the store has tokens. Returns whether it did.

    Raises UsageError `bad_token_secret` for one that could be guessed.
    """
    if not _SECRET.fullmatch(secret):
        raise UsageError(
            "bad_token_secret",
            "the secret of the first token is too short, or has other characters than printable ASCII",
            remedy="use 32 to 256 random characters, for example those of `openssl rand -hex 32`",
        )
    if count(connection):
        return False
    _insert(connection, now, FIRST, "admin", secret)
    return True


def _insert(connection: Connection, now: float, name: str, scope: str, secret: str) -> None:
    connection.execute(tokens.insert().values(name=name, scope=scope, digest=_digest(secret), created_at=now))
    events.append(connection, now, "token_added", name=name, scope=scope)


def may_be_named(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def unknown(name: str) -> NotFoundError:
    return NotFoundError("token_unknown", f"there is no token {name[:64]!r}", remedy="`qmrunner token list` lists them")


def find(connection: Connection, secret: str) -> Token | None:
    """The token with this secret; None if it does not exist or was revoked."""
    digest = _digest(secret)
    row = connection.execute(select(tokens).where(tokens.c.digest == digest)).first()
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    return Token(row.name, row.scope, row.created_at)


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(tokens)).scalar_one())


def listing(connection: Connection) -> list[Token]:
    """All tokens by name."""
    rows = connection.execute(select(tokens).order_by(tokens.c.name))
    return [Token(row.name, row.scope, row.created_at) for row in rows]


def revoke(connection: Connection, now: float, name: str) -> None:
    """Revoke a token immediately. Raises NotFoundError `token_unknown`."""
    if connection.execute(delete(tokens).where(tokens.c.name == name)).rowcount == 0:
        raise unknown(name)
    events.append(connection, now, "token_revoked", name=name)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
