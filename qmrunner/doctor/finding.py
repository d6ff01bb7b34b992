"""The result of one check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qmrunner.errors import QmrunnerError

Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` and `code` are stable words; `code` is None for ok. `data` holds the figures behind `text`."""

    name: str
    result: Result
    text: str
    remedy: str | None = None
    code: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "result": self.result,
            "code": self.code,
            "text": self.text,
            "remedy": self.remedy,
            "data": dict(self.data),
        }


Check = Callable[[], Finding | Iterable[Finding]]


def ok(name: str, text: str, **data: Any) -> Finding:
    return Finding(name, "ok", text, data=data)


def warn(name: str, code: str, text: str, remedy: str, **data: Any) -> Finding:
    return Finding(name, "warn", text, remedy, code, data)


def fail(name: str, code: str, text: str, remedy: str | None, **data: Any) -> Finding:
    return Finding(name, "fail", text, remedy, code, data)


def of_error(name: str, problem: QmrunnerError) -> Finding:
    """An error of another part of the program as a finding."""
    text = f"{problem.message} ({problem.evidence})" if problem.evidence else problem.message
    return fail(name, problem.code, text.replace(":\n  ", ": ").replace("\n  ", "; "), problem.remedy)


def ask(name: str, check: Check) -> list[Finding]:
    """The findings of one check. An exception inside it becomes a finding, so one broken check hides no other."""
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except QmrunnerError as problem:
        return [of_error(name, problem)]
    except Exception as problem:
        return [fail(name, "check_failed", f"the check itself failed: {problem!r}", "report this line as a bug")]
