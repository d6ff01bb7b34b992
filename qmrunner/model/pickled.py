"""Reads a pickle as text. Pure: no class is looked up, no object of the pickle is made, nothing in it is called.

`pickle.loads` of foreign bytes runs what their sender wants. Here the operations are read one by one (`pickletools`),
and only numbers, texts, bytes and plain containers become values; everything else is a `Thing`, the name of its class.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST_OPERATIONS = 100_000
_MOST_VISITS, _DEEPEST, _MOST_ITEMS, _LONGEST_TEXT = 2000, 8, 50, 200
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}"), "dict": ("{", "}")}


@dataclass(slots=True)
class Thing:
    """A value that is no plain one: a class by its name, or an object with the values it was made of."""

    name: str
    items: list[Any] = field(default_factory=list)
    made: bool = False


@dataclass(slots=True)
class Box:
    """A container. A dict has its keys and values in turn: they may be of any kind."""

    kind: str
    items: list[Any] = field(default_factory=list)


class Unreadable(Exception):
    """The bytes are no pickle, or one with more operations than are read."""


def read(data: bytes) -> Any:
    """The value of a pickle: a plain one, a `Box` or a `Thing`. What follows its end is ignored. Raises Unreadable."""
    reader = _Reader()
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if number > _MOST_OPERATIONS:
                raise Unreadable("it has too many operations")
            if operation.name == "STOP":
                return reader.stack.pop()
            reader.do(operation.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as problem:
        raise Unreadable(str(problem)) from problem
    raise Unreadable("it has no end")


class _Reader:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """One operation of the pickle machine."""
        stack = self.stack
        if name in ("PROTO", "FRAME", "BUILD"):
            if name == "BUILD":
                stack.pop()  # the state of an object: its name must do
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name.startswith("EMPTY_"):
            stack.append(Box(name.removeprefix("EMPTY_").lower()))
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            stack.append(Box({"FROZENSET": "set"}.get(name, name.lower()), self._since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [Box("tuple", stack[-count:])]
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            self._extend(self._since_mark())
        elif name == "APPEND":
            self._extend([stack.pop()])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._extend([key, value])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._since_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            self._object(name, argument)

    def _object(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name == "GLOBAL":
            stack.append(Thing(str(argument).replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            stack.append(Thing(f"{module}.{last}"))
        elif name in ("REDUCE", "NEWOBJ"):
            given, made = stack.pop(), stack.pop()
            stack.append(_made(made, given))
        elif name == "NEWOBJ_EX":
            _, given, made = stack.pop(), stack.pop(), stack.pop()
            stack.append(_made(made, given))
        elif name == "INST":
            stack.append(Thing(str(argument).replace(" ", "."), self._since_mark(), made=True))
        elif name == "OBJ":
            made, *given = self._since_mark()
            stack.append(_made(made, Box("tuple", given)))
        elif name in ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"):
            if name == "BINPERSID":
                stack.pop()
            stack.append(Thing("something stored elsewhere"))
        elif name != "READONLY_BUFFER":
            stack.append(argument)  # a number, text or bytes: what is left of the operations

    def _since_mark(self) -> list[Any]:
        at = self._marks.pop()
        found = self.stack[at:]
        del self.stack[at:]
        return found

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Box):
            target.items.extend(items)


def _made(made: Any, given: Any) -> Thing:
    items = given.items if isinstance(given, Box) else []
    return Thing(made.name if isinstance(made, Thing) else "object", items, made=True)


class _Writer:
    def __init__(self) -> None:
        self.left = _MOST_VISITS

    def text(self, value: Any, depth: int) -> str:
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST:
            return "…"
        if isinstance(value, Box):
            return self._box(value, depth)
        if isinstance(value, Thing):
            if not value.made:
                return f"<{_cut(value.name)}>"
            return f"<{_cut(value.name)}({self._all(value.items, depth)})>"
        if isinstance(value, str | bytes | bytearray):
            long = len(value) > _LONGEST_TEXT
            return repr(value[:_LONGEST_TEXT]) + (f"… ({len(value)} in all)" if long else "")
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 500:
            return f"a number of {value.bit_length()} bits"
        return repr(value)

    def _box(self, box: Box, depth: int) -> str:
        opening, closing = _BRACKETS[box.kind]
        if box.kind == "dict":
            pairs = list(zip(box.items[::2], box.items[1::2], strict=False))
            shown = [f"{self.text(key, depth + 1)}: {self.text(item, depth + 1)}" for key, item in pairs[:_MOST_ITEMS]]
            return opening + ", ".join(shown) + _more(len(pairs)) + closing
        comma = "," if box.kind == "tuple" and len(box.items) == 1 else ""
        return opening + self._all(box.items, depth) + comma + closing

    def _all(self, items: list[Any], depth: int) -> str:
        return ", ".join(self.text(item, depth + 1) for item in items[:_MOST_ITEMS]) + _more(len(items))


def _more(count: int) -> str:
    return f", … ({count} in all)" if count > _MOST_ITEMS else ""


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_TEXT else f"{name[:_LONGEST_TEXT]}…"


def written(value: Any) -> str:
    """A value of `read` as text, as Python writes it, bounded in depth, width and length."""
    return _Writer().text(value, 0)


def pairs_of(value: Any) -> Mapping[str, str]:
    """The items of a dict with texts as keys, as texts; other keys as Python writes them."""
    items = value.items if isinstance(value, Box) and value.kind == "dict" else []
    pairs = zip(items[::2], items[1::2], strict=False)
    return {key if isinstance(key, str) else written(key): written(item) for key, item in pairs}
