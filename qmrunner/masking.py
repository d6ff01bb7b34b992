"""Masks passwords in everything that is printed, logged or returned.

Two rules complement each other. One finds patterns in any text: `//user:word@` in many spellings, `password=word`. The
other knows the passwords in the settings of this process, and finds them wherever a library repeats them, whole or in
the pieces that a parser made of a mistyped URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "***"
_LONG = 8
_LEAST = 4  # minimum length of secrets replaced anywhere; shorter ones are replaced only within their URL
# After slashes (or backslashes, which JSON doubles), or after the name of a database with any punctuation. The lengths
# are limited so that no text makes the search slow.
_USERINFO = re.compile(
    r"(?P<kept>(?:[:;]/|[:;]\\|//|\\\\|(?:postgr|psql|pgsql|redis|mysql)\w{0,20}[^\s\w\"'@]{1,8})[/\\]{0,8}"
    r"[^\s\"/@:\\]{0,200}:)[^\s\"]{0,200}(?=@)",
    re.IGNORECASE,
)
# A server without users takes a single word as the password.
_ALONE = re.compile(r"(?P<kept>redis\w{0,20}:/{1,8})[^\s\"'/@:\\]{1,1000}(?=@)", re.IGNORECASE)
_SECRET = r"(?:pass?w\w{0,20}|passphrase|\bpw|pwd|secret\w{0,20}|credentials?|token)(?<!file)"
_ASSIGNED = re.compile(
    rf"(?P<kept>{_SECRET}\s{{0,8}}(?:=|%3D)\s{{0,8}})(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;,'\")\]}}]+)"
    rf"|(?P<item>(?P<quote>['\"])[\w.-]{{0,40}}?{_SECRET}(?P=quote)\s{{0,8}}:\s{{0,8}}['\"])(?:[^'\"\\]|\\.)*",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"\s*(?:(?P<scheme>[A-Za-z][\w+.-]*)(?=[:;,/\\\s]))?[:;,]?[/\\]*")
_QUERY = re.compile(r"(?:^|[?&;\s])(?P<key>[\w.-]+)=(?P<value>'(?:[^'\\]|\\.)*'|[^&;\s]+)")
_SECRET_KEY = re.compile(r"pa?s|pw|secret|token|cred", re.IGNORECASE)
_NO_SECRET = frozenset({"qmrunner", "postgres", "postgresql", "psycopg", "redis", "rediss", "sqlite", "localhost"})
_NO_SERVER = ("sqlite", "file")

_known: re.Pattern[str] | None = None
_texts: frozenset[str] = frozenset()


def know(urls: Iterable[str], secrets: Iterable[str] = (), *, also: bool = False) -> None:
    """Make `mask` replace the passwords of these URLs, valid or mistyped, and these secrets.

    Earlier ones are forgotten, unless `also` is set.
    """
    global _known, _texts
    found = {form for secret in secrets for form in _forms(secret)}
    for url in urls:
        found.update(form for word in passwords(url) for form in _forms(word))
    _texts = (_texts | found) if also else frozenset(found)
    _known = re.compile("|".join(map(_found_as, sorted(_texts, key=len, reverse=True)))) if _texts else None


def _found_as(secret: str) -> str:
    """A short secret may be part of a harmless word, so only whole words match it."""
    found = re.escape(secret)
    return found if len(secret) >= _LONG else rf"(?:(?<!\w)|(?<=%[\da-fA-F]{{2}})){found}(?!\w)"


def mask(text: str) -> str:
    """`text` without passwords."""
    if _known is not None:
        text = _known.sub(MASK, text)
    if "@" in text:
        text = _ALONE.sub(rf"\g<kept>{MASK}", _USERINFO.sub(rf"\g<kept>{MASK}", text))
    if "=" in text or "%3" in text or "':" in text or '":' in text:
        text = _ASSIGNED.sub(lambda found: f"{found['kept'] or found['item']}{MASK}", text)
    return text


def mask_all(value: Any) -> Any:
    """A JSON value with every text in it masked. Keys are qmrunner's own and stay unchanged."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: mask_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item) for item in value]
    return value if value is None or isinstance(value, int | float) else mask(str(value))


def masked_url(url: str) -> str:
    """A URL, valid or not, without anything that may be its password, however short."""
    for word in sorted(passwords(url), key=len, reverse=True):
        url = url.replace(word, MASK)
    return mask(url)


def passwords(url: str) -> set[str]:
    """Everything in a URL, valid or not, that may be its password."""
    if not any(mark in url for mark in "@:=%"):
        return set()
    from urllib.parse import unquote

    found: set[str] = set()
    for text in {url, unquote(url)}:
        found.update(match["value"].strip("'") for match in _QUERY.finditer(text) if _SECRET_KEY.search(match["key"]))
        beginning = _BEGINNING.match(text)
        assert beginning
        scheme = (beginning["scheme"] or "").lower()
        if scheme not in _NO_SERVER:
            alone = scheme.startswith("re") or "//" not in beginning[0]
            found.update(_beside_the_host(text[beginning.end() :], alone))
    return found - {""}


def _beside_the_host(text: str, alone: bool) -> Iterator[str]:
    """`alone`: a word without a user name before it also counts."""
    before, at, after = text.rpartition("@")
    if not at:
        # `user:word#host`, `user:word`: text in place of the port that is not a number.
        host = re.split(r"[/?\s]", re.sub(r"\[[\da-fA-F:.]*\]", "", after), maxsplit=1)[0]
        _, _, port = host.partition(":")
        if port and not port.isdigit():
            yield port
        return
    user, mark, word = before.partition(":")
    first, *rest = re.split(r"[\s;,/|=\\]+", user.strip(), maxsplit=1)
    if mark:
        if word != user:
            yield word
    elif rest:  # a mistyped colon
        yield rest[0]
    elif alone:
        yield first


def _forms(secret: str) -> Iterator[str]:
    """The forms in which a secret may be printed: decoded, encoded, quoted, or a piece made by a parser."""
    import json
    from urllib.parse import quote, unquote, unquote_plus

    for plain in {secret, unquote(secret), unquote_plus(secret)}:
        pieces = re.split(r"[@:/?#\s]+", plain)
        for text in (plain, *(pieces if len(pieces) > 1 else ())):
            if len(text) >= _LEAST and text.lower() not in _NO_SECRET:
                quoted = repr(text)[1:-1]
                yield from {text, quote(text), quote(text, safe=""), quoted, json.dumps(text)[1:-1]}
