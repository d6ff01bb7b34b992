"""Answers: plain JSON, and errors as code, evidence and remedy with the status that fits them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from qmrunner.errors import NotFoundError, NotReadyError, QmrunnerError, UsageError
from qmrunner.logs import get as get_logger

_RETRY_AFTER_S = 5
_STATUS = {
    "bad_file_name": 400,
    "bad_header": 400,
    "bad_path": 400,
    "bad_method": 400,
    "bad_request": 400,
    "bad_target": 400,
    "token_needed": 401,
    "token_refused": 401,
    "cross_origin": 403,
    "scope_too_small": 403,
    "route_unknown": 404,
    "method_not_allowed": 405,
    "body_too_slow": 408,
    "key_in_use": 409,
    "no_result": 409,
    "no_worker": 409,
    "token_exists": 409,
    "wrong_state": 409,
    "body_too_large": 413,
    "file_too_big": 413,
    "unsupported_media_type": 415,
    "engine_missing": 422,
    "rate_limited": 429,
}


class Problem(BaseModel):
    """What went wrong, for machines (`code`) and for people."""

    code: str = Field(examples=["unknown_solvent"])
    message: str = Field(examples=["unknown solvent 'chlorofrom'"])
    evidence: str | None = Field(None, examples=["chlorofrom"])
    remedy: str | None = Field(None, examples=["did you mean chloroform? known are chloroform, dmso, methanol"])


class ErrorBody(BaseModel):
    """The body of every answer from 400 on."""

    error: Problem


_ABOUT = {
    400: "The request cannot be understood: a name, path, cursor or header that is never right.",
    401: "A token is needed, or this one is unknown or revoked.",
    403: "The token's scope does not reach that far, or another site's page sent the request.",
    404: "There is no such job, step, file, worker or token.",
    408: "The body did not come in time.",
    409: "It does not fit the state of things: job state, a key that came with another request, no result yet.",
    413: "The request is larger than QMRUNNER_API_MAX_BODY_MIB, or than this route needs.",
    415: "The body is neither JSON nor multipart.",
    422: "The request is understood, and wrong: unknown field or option, a molecule that cannot be computed.",
    429: "Too many requests, or this client has its share; `Retry-After` says when to ask again.",
    503: "The store does not answer now, or others have all places; `Retry-After` says when to ask again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented errors of a route, beside those that every one has."""
    return {status: {"model": ErrorBody, "description": _ABOUT[status]} for status in sorted(statuses)}


class Json(JSONResponse):
    """States are written as text, and a number that JSON does not have is a fault of ours."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":"), default=str).encode()


def refusal(problem: QmrunnerError) -> Json:
    """The answer for an error of ours."""
    status = status_of(problem)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if isinstance(problem, MethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(problem.allowed))
    if isinstance(problem, TooMany):
        headers["Retry-After"] = str(problem.seconds)
    return Json({"error": problem.as_dict()}, status, headers)


def status_of(problem: QmrunnerError) -> int:
    if problem.code in _STATUS:
        return _STATUS[problem.code]
    if isinstance(problem, TooMany):
        return 429
    kinds = ((UsageError, 422), (NotFoundError, 404), (NotReadyError, 503))
    return next((status for kind, status in kinds if isinstance(problem, kind)), 500)


class TooMany(QmrunnerError):
    """More than one client or this server may have; ask again after so many seconds."""

    def __init__(self, code: str, message: str, remedy: str, seconds: int) -> None:
        super().__init__(code, message, remedy=remedy)
        self.seconds = seconds


class MethodNotAllowed(QmrunnerError):
    """This path answers other methods."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = frozenset(allowed)
        words = ", ".join(sorted(self.allowed))
        super().__init__("method_not_allowed", "this path does not answer this method", remedy=f"it answers {words}")


def rate_limited(seconds: int) -> TooMany:
    remedy = f"ask again after {seconds} s; streams need no polling; QMRUNNER_API_RATE_PER_MINUTE is the limit"
    return TooMany("rate_limited", "too many requests from this client", remedy, seconds)


def register(api: FastAPI) -> None:
    """Let every error leave as an `ErrorBody`; `middleware` does it for what is left."""
    api.add_exception_handler(QmrunnerError, _ours)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _plain)


def _ours(_request: Request, problem: Exception) -> Json:
    assert isinstance(problem, QmrunnerError)
    return refusal(problem)


def invalid(details: list[Any]) -> UsageError:
    """From what pydantic found: where, and what is wrong there."""
    told = [f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}" for one in details[:5]]
    return UsageError(
        "invalid_request",
        "the request does not have the shape that this route needs",
        evidence="; ".join(told).encode(errors="replace").decode(),
        remedy="/docs and /openapi.json describe every field, with examples",
    )


def _invalid(_request: Request, problem: Exception) -> Json:
    assert isinstance(problem, RequestValidationError)
    return refusal(invalid(list(problem.errors())))


def _plain(_request: Request, problem: Exception) -> Json:
    """What the framework itself refuses; unknown routes and methods do not come so far."""
    assert isinstance(problem, HTTPException)
    told = QmrunnerError("bad_request", str(problem.detail), remedy="/docs and /openapi.json describe every request")
    return Json({"error": told.as_dict()}, problem.status_code, dict(problem.headers or {}))


def unexpected(problem: Exception) -> Json:
    """The answer for a fault of ours, which goes to the log."""
    get_logger().error("internal_error", error=repr(problem), exc_info=problem)
    told = QmrunnerError(
        "internal_error", "qmrunner could not answer this", remedy="report this with the event `internal_error`"
    )
    return Json({"error": told.as_dict()}, 500)
