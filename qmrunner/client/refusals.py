"""From an answer of the server, or its absence, to the errors of qmrunner. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from qmrunner.errors import JobFailedError, NotFoundError, NotReadyError, QmrunnerError, UsageError

# Conditions that pass: other errors with status 503 last until the machine is changed.
_PASSING = frozenset({"store_unavailable", "busy", "rate_limited"})
_NOT_READY = frozenset({"engine_missing", "no_result", "no_worker", "no_home_here", "rdkit_missing"})
_LONGEST_WAIT_S = 60.0


class JobEndedError(JobFailedError):
    """A job that was waited for failed, was cancelled, or is held. `why` is the JSON of `qmrunner why`."""

    def __init__(self, job_id: str, state: str, why: dict[str, Any]) -> None:
        self.job_id, self.state, self.why = job_id, state, why
        code = str(why.get("code") or state)
        evidence = (why.get("evidence") or {}).get("text")
        remedy = why.get("remedy") or why.get("next")
        super().__init__(code, f"job {job_id}: {why['summary']}", evidence=evidence, remedy=remedy)


class NoWorkerWarning(UserWarning):
    """A job waits, and no worker runs that could take it."""


def error_of(answer: httpx.Response) -> QmrunnerError:
    """The error of an answer with status 300 or above: that of the server, with the class of its status."""
    try:
        found = answer.json()["error"]
        return _made(found, answer.status_code)
    except (ValueError, KeyError, TypeError):
        return _foreign(answer)


def error_of_line(found: Mapping[str, Any]) -> tuple[QmrunnerError, bool]:
    """The error in an answer to one of many lines, and whether the same line may be accepted later."""
    later = _is_passing(str(found["code"]))
    return _made(found, 503 if later else 422), later


def _made(found: Mapping[str, Any], status: int) -> QmrunnerError:
    code = str(found["code"])
    kind: type[QmrunnerError] = UsageError
    if status == 404:
        kind = NotFoundError
    elif status == 429 or status >= 500 or code in _NOT_READY:
        kind = QmrunnerError if code == "internal_error" else NotReadyError
    return kind(code, str(found["message"]), evidence=found.get("evidence"), remedy=found.get("remedy"))


def _is_passing(code: str) -> bool:
    return code in _PASSING or code.startswith("too_many_")


def passes(answer: httpx.Response, error: QmrunnerError, *, patient: bool) -> bool:
    """Whether the same request may succeed later; for a `patient` client after a repair of the server, too."""
    if answer.status_code in (429, 502, 504) or (patient and answer.status_code >= 500):
        return True
    return answer.status_code == 503 and (error.code == "not_qmrunner" or _is_passing(error.code))


def delay_of(answer: httpx.Response) -> float:
    """The seconds that the answer asks to wait before the next request."""
    try:
        return min(_LONGEST_WAIT_S, max(0.0, float(answer.headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0


def unreachable(where: str, problem: httpx.TransportError) -> NotReadyError:
    """The error of a server that does not answer."""
    return NotReadyError(
        "server_unreachable", f"the server at {where} does not answer", evidence=str(problem) or type(problem).__name__,
        remedy="check the address, and that `qmrunner serve` runs there; jobs that were accepted keep running",
    )  # fmt: skip


def untrusted(where: str, problem: httpx.TransportError) -> UsageError | None:
    """The error of a server whose certificate is refused; None for other problems, which may pass."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(problem):
        return None
    return UsageError(
        "certificate_refused", f"the certificate of {where} is not trusted", evidence=str(problem),
        remedy="use a trusted certificate, or name its authority: verify=ssl.create_default_context(cafile=…)",
    )  # fmt: skip


def too_large(where: str, most: int) -> QmrunnerError:
    """The error of an answer that does not end within `most` bytes."""
    return QmrunnerError(
        "answer_too_large", f"the answer of {where} has more than {most:,} bytes",
        remedy="`job.download(folder)` writes large files; if this is no large file, check the address",
    )  # fmt: skip


class _Fields(dict[str, Any]):
    """The fields of an answer. One that is missing is the fault of the server, not of the program that reads it."""

    def __init__(self, fields: Mapping[str, Any], problem: Callable[[], NotReadyError]) -> None:
        super().__init__(fields)
        self._problem = problem

    def __missing__(self, key: str) -> Any:
        raise self._problem()


def content_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of a good answer. Raises NotReadyError `not_qmrunner` for other content, and for a field that is
    asked for and missing."""
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        raise _foreign(answer) from None
    if not isinstance(found, dict) or not isinstance(found.get("job", {}), dict):
        raise _foreign(answer)
    return _Fields(found, lambda: _foreign(answer))


def fields_of(text: str, where: str) -> dict[str, Any]:
    """The JSON object in a line or event of a stream, as `content_of`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise foreign_line(text, where)
    return _Fields(found, lambda: foreign_line(text, where))


def foreign_line(text: str, where: str) -> NotReadyError:
    """The error of a line or event that no server of qmrunner sends."""
    return _not_qmrunner(f"{where} sent a stream, but not as qmrunner does", text)


def _foreign(answer: httpx.Response) -> NotReadyError:
    message = f"{answer.url.host} answered with status {answer.status_code}, but not as qmrunner does"
    return _not_qmrunner(message, answer.content[:1000].decode(errors="replace"))


def _not_qmrunner(message: str, seen: str) -> NotReadyError:
    return NotReadyError(
        "not_qmrunner", message, evidence=" ".join(seen[:1000].split())[:200] or None,
        remedy="check the address; a proxy in between may answer while the server restarts",
    )  # fmt: skip
