"""Sessions of people who signed in to the pages, and one-use codes for signing in: random secrets of 256 bits, of which
only the hash is stored. Each belongs to a token, and ends in the commit that revokes the token."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from qmrunner.errors import UsageError
from qmrunner.store import events
from qmrunner.store.tables import sessions, tokens
from qmrunner.store.tokens import digest_of, unknown

IDLE_S = 12 * 3600.0
LONGEST_S = 7 * 86400.0
CODE_S = 60.0
# How stale `seen_at` may become before it is written again: one write for many requests.
_SEEN_EVERY_S = 600.0


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in: its token, the token's scope, when it began and was last used (Unix s)."""

    digest: str
    token: str
    scope: str
    created_at: float
    seen_at: float


def open_with_code(connection: Connection, now: float, code: str) -> tuple[str, str]:
    """Use up a code. Returns the secret of a new session and the name of its token.

    Raises UsageError `code_refused`.
    """
    row = connection.execute(
        delete(sessions)
        .where(sessions.c.digest == digest_of(code), sessions.c.purpose == "code", sessions.c.created_at > now - CODE_S)
        .returning(sessions.c.token)
    ).first()
    if row is None:
        raise UsageError(
            "code_refused", f"this code is unknown, was used before, or is older than {CODE_S:g} s",
            remedy="run `qmrunner web` again, or sign in with a token",
        )  # fmt: skip
    return open_for(connection, now, row.token), str(row.token)


def open_for(connection: Connection, now: float, token: str) -> str:
    """A new session of this token. Returns its secret, which cannot be read again. Raises NotFoundError
    `token_unknown`."""
    _forget_old(connection, now)
    secret = _add(connection, now, token, "session")
    events.append(connection, now, "signed_in", name=token)
    return secret


def add_code(connection: Connection, now: float, token: str) -> str:
    """A code with which a session of this token can be opened once, within a minute. Raises NotFoundError
    `token_unknown`."""
    _forget_old(connection, now)
    return _add(connection, now, token, "code")


def find(connection: Connection, now: float, secret: str) -> Session | None:
    """The session with this secret; None if there is none, if it ended, or if its token was revoked."""
    return of_digest(connection, now, digest_of(secret))


def of_digest(connection: Connection, now: float, digest: str) -> Session | None:
    """The same by the hash of the secret."""
    row = connection.execute(
        select(sessions, tokens.c.scope)
        .join(tokens, tokens.c.name == sessions.c.token)
        .where(sessions.c.digest == digest, sessions.c.purpose == "session")
    ).first()
    if row is None or row.seen_at <= now - IDLE_S or row.created_at <= now - LONGEST_S:
        return None
    return Session(row.digest, row.token, row.scope, row.created_at, row.seen_at)


def is_due(session: Session, now: float) -> bool:
    """Whether the last use of the session should be written."""
    return now - session.seen_at > _SEEN_EVERY_S


def touch(connection: Connection, now: float, digest: str) -> None:
    """Write that the session is in use."""
    connection.execute(update(sessions).where(sessions.c.digest == digest).values(seen_at=now))


def close(connection: Connection, digest: str) -> None:
    """End one session."""
    connection.execute(delete(sessions).where(sessions.c.digest == digest))


def close_all(connection: Connection, token: str) -> int:
    """End every session of a token. Returns how many there were."""
    ended = delete(sessions).where(sessions.c.token == token, sessions.c.purpose == "session")
    return connection.execute(ended).rowcount


def counts(connection: Connection, now: float) -> dict[str, tuple[int, float]]:
    """Number of open sessions and time of the last use (Unix s) of each token that has any."""
    rows = connection.execute(
        select(sessions.c.token, func.count(), func.max(sessions.c.seen_at))
        .where(
            sessions.c.purpose == "session", sessions.c.seen_at > now - IDLE_S, sessions.c.created_at > now - LONGEST_S
        )
        .group_by(sessions.c.token)
    )
    return {name: (int(count), float(seen)) for name, count, seen in rows}


def _add(connection: Connection, now: float, token: str, purpose: str) -> str:
    if connection.execute(select(tokens.c.name).where(tokens.c.name == token)).first() is None:
        raise unknown(token)
    secret = secrets.token_urlsafe(32)
    connection.execute(
        sessions.insert().values(digest=digest_of(secret), token=token, purpose=purpose, created_at=now, seen_at=now)
    )
    return secret


def _forget_old(connection: Connection, now: float) -> None:
    ended = (sessions.c.seen_at <= now - IDLE_S) | (sessions.c.created_at <= now - LONGEST_S)
    old_code = (sessions.c.purpose == "code") & (sessions.c.created_at <= now - CODE_S)
    connection.execute(delete(sessions).where(ended | old_code))
