r"""Text that is safe to print to a terminal, a log or a table. Pure.

Characters that would move the cursor, change the direction of writing, break a line or be invisible are escaped as in
Python: `\x1b`, `\u202e`. Names, keys, messages and engine lines are untrusted input; they are stored unchanged and
escaped when they are printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

# Unicode's categories Cc (but newline and tabulator), Cf, Cs, Zl and Zp, and what it calls default ignorable.
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_PLAIN_BYTES = bytes((9, 10, *range(32, 127)))


class _Escapes(dict[str, str]):
    """The escape of each character, made on first use."""

    def __missing__(self, character: str) -> str:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            code -= 0xDC00  # a byte that is not UTF-8, as Python decodes it
        form = "\\x{:02x}" if code <= 0xFF else "\\u{:04x}" if code <= 0xFFFF else "\\U{:08x}"
        shown = form.format(code)
        self[character] = shown
        return shown


_ESCAPES = _Escapes({"\t": r"\t", "\n": r"\n", "\r": r"\r"})


@cache
def _class(more: str) -> re.Pattern[str]:
    """Matches characters to escape, and those in `more`. Compiled on first use: that takes longer than most
    commands."""
    return re.compile(f"[{_INVISIBLE}{more}]")


def lines(text: str) -> str:
    """A text of several lines: newlines and tabulators stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return _class("").sub(lambda match: _ESCAPES[match[0]], text)


def line(text: str) -> str:
    """A text that must stay on one line: a name, a value, a cell of a table."""
    if text.isascii() and text.isprintable():
        return text
    return _class("\t\n").sub(lambda match: _ESCAPES[match[0]], text)


def fields(value: Any) -> Any:
    """A JSON value with every text in it escaped by `line`."""
    if isinstance(value, str):
        return line(value)
    if isinstance(value, Mapping):
        return {fields(key): fields(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fields(item) for item in value]
    return value


def log(data: bytes) -> bytes:
    """Whole lines, or a whole line, of a log: valid UTF-8, with other bytes escaped. `\\r\\n` ends a line."""
    if not data.translate(None, _PLAIN_BYTES):  # most logs, at the speed of memory
        return data
    return lines(data.replace(b"\r\n", b"\n").decode(errors="surrogateescape")).encode()


def whole(data: bytes) -> int:
    """How many of these bytes can be printed before more arrive: no half character, no half line end."""
    if data.endswith(b"\r"):
        return len(data) - 1
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # begins a character of two to four bytes
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if size > back else len(data)
        if byte < 0x80:
            break
    return len(data)


def dumps(value: Any, **how: Any) -> str:
    """JSON in printable ASCII: a parser gets every text unchanged."""
    return json.dumps(value, **how).replace("\x7f", "\\u007f")
