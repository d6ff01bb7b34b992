"""A pickle is read as text: the same as Python writes for plain values, and nothing in it ever runs."""

from __future__ import annotations

import datetime
import os
import pickle
import time
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model import pickled

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_written_as_python_writes_them(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    if protocol >= 3 or (b"bytes" not in data and b"_codecs" not in data):  # older ones make bytes by a call
        assert pickled.written(pickled.read(data)) == repr(value)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/qmrunner-was-here",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_class_is_a_name_and_is_not_called(protocol: int) -> None:
    shown = pickled.written(pickled.read(pickle.dumps([Evil(), Decimal("1.5"), OrderedDict(a=1)], protocol)))
    assert "system" in shown
    assert "touch" in shown
    assert not os.path.exists("/tmp/qmrunner-was-here")
    assert "decimal.Decimal" in shown
    assert "datetime.date" in pickled.written(pickled.read(pickle.dumps(datetime.date(2026, 1, 2), protocol)))


def test_bombs_stay_small_and_quick() -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value, value, value]
    wide = [list(range(1000))] * 1000
    loop: list[Any] = []
    loop.append(loop)
    began = time.process_time()
    for bomb in (value, wide, loop, "x" * 10**6, 10**10000, {n: n for n in range(10**4)}):
        assert len(pickled.written(pickled.read(pickle.dumps(bomb)))) < 100_000
    assert time.process_time() - began < 2.0


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for given_bytes in (data, b"\x80\x05" + data + b".", pickle.dumps([1, {"a": b"b"}])[: len(data)] + data):
        try:
            pickled.written(pickled.read(given_bytes))
        except pickled.Unreadable:
            pass
