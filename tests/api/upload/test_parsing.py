"""Bodies that are made to hurt who reads them: refused with a code, within bounds of time and memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.api.upload import nesting, parsing
from qmrunner.errors import UsageError

JSON = "application/json"
PARTS = "multipart/form-data; boundary=b"
HEAD = b'--b\r\ncontent-disposition: form-data; name="job"\r\n\r\n{"kind": "xtb"}\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="%d.xyz"\r\n\r\nx\r\n'
END = b"--b--\r\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str, bytes], Any]:
    def reading(content_type: str, body: bytes) -> Any:
        (tmp_path / "body").write_bytes(body)
        (tmp_path / "files").mkdir()
        return parsing.read(content_type, tmp_path / "body", tmp_path / "files")

    return reading


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "levels": (JSON, b"[" * 1_000_000, "invalid_request"),
    "levels of objects": (JSON, b'{"a":' * 1_000_000, "invalid_request"),
    "levels in a field": (JSON, b'{"kind":"xtb","files":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_request"),
    "values": (JSON, b"[" + b"{}," * 2_000_000 + b"{}]", "invalid_request"),
    "numbers": (JSON, b"[" + b"1," * 2_000_000 + b"1]", "invalid_request"),
    "keys": (JSON, b"{" + b'"a":1,' * 1_000_000 + b'"a":1}', "invalid_request"),
    "a string without an end": (JSON, b'"' + b'\\"' * 2_000_000, "invalid_request"),
    "a long number": (JSON, b'{"kind":"xtb","priority":' + b"9" * 1_000_000 + b"}", "invalid_request"),
    "not UTF-8": (JSON, b'{"kind":"xtb","name":"\xff"}', "invalid_request"),
    "nothing": (JSON, b"", "invalid_request"),
    "no type": ("", b"x", "unsupported_media_type"),
    "a type with control characters": ("text/\x1b[31m", b"x", "unsupported_media_type"),
    "no boundary": ("multipart/form-data", HEAD + END, "bad_request"),
    "a long boundary": (f"multipart/form-data; boundary={'b' * 1000}", HEAD + END, "bad_request"),
    "no end": (PARTS, HEAD, "bad_request"),
    "no beginning": (PARTS, b"x" * 1_000_000, "bad_request"),
    "no job": (PARTS, FILE % 1 + END, "invalid_request"),
    "two jobs": (PARTS, HEAD + HEAD + END, "invalid_request"),
    "a job of many levels": (PARTS, HEAD.replace(b'{"kind": "xtb"}', b"[" * 100_000) + END, "invalid_request"),
    "many parts": (PARTS, HEAD + b"".join(FILE % i for i in range(200)) + END, "bad_request"),
    "parts of one name": (PARTS, HEAD + FILE % 1 * 10_000 + END, "duplicate_file"),
    "many headers": (PARTS, b"--b\r\n" + b"a: b\r\n" * 100_000 + b"\r\nx\r\n" + END, "bad_request"),
    "a long header": (PARTS, b"--b\r\na: " + b"b" * 1_000_000 + b"\r\n\r\nx\r\n" + END, "bad_request"),
    "a long header name": (PARTS, b"--b\r\n" + b"b" * 1_000_000 + b": a\r\n\r\nx\r\n" + END, "bad_request"),
    "no name": (PARTS, b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n" + END, "invalid_request"),
    "a name above": (PARTS, HEAD + FILE.replace(b"%d", b"../../x") + END, "bad_file_name"),
    "a name with an escape": (PARTS, HEAD + FILE.replace(b"%d", b"a\x1b[31m") + END, "bad_file_name"),
    "a name that turns round": (PARTS, HEAD + FILE.replace(b"%d", "a\u202eb".encode()) + END, "bad_file_name"),
    "a name with NUL": (PARTS, HEAD + FILE.replace(b"%d", b"a\0b") + END, "bad_file_name"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_with_a_code(read: Callable[[str, bytes], Any], name: str) -> None:
    content_type, body, code = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(UsageError) as refused:
            read(content_type, body)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body) + 2**21
    finally:
        tracemalloc.stop()
    assert refused.value.code == code
    assert refused.value.remedy
    assert len(str(refused.value)) < 2000


def test_parts_and_files_of_the_form_come_in_their_order_byte_for_byte(read: Callable[[str, bytes], Any]) -> None:
    data = bytes(range(256)) * 1000 + b"\r\n--c\r\n\r\n"
    more = b', "files": [{"name": "z.xyz", "text": "a\\r\\n\xc3\xa9"}]}'
    body = HEAD.replace(b"}", more) + FILE.replace(b"\r\n\r\nx", b"\r\n\r\n" + data.replace(b"%", b"%%")) % 2 + END
    form, paths = read(PARTS, body)
    assert (form.kind, [path.name for path in paths]) == ("xtb", ["2.xyz", "z.xyz"])
    assert [path.read_bytes() for path in paths] == [data, "a\r\né".encode()]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


def levels(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max((levels(one) for one in inner), default=0)
    return 0


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 40), st.booleans())
def test_levels_are_counted_as_a_parser_finds_them(value: Any, around: int, ascii_only: bool) -> None:
    for _ in range(around):
        value = [value]
    text = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    if levels(value) > nesting.DEEPEST:
        with pytest.raises(UsageError):
            nesting.check(text)
    else:
        nesting.check(text)
