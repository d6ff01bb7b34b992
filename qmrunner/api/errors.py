"""JSON responses, and errors as code, evidence and remedy with their HTTP status."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

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
    "code_refused": 401,
    "cross_origin": 403,
    "scope_too_small": 403,
    "tls_needed": 403,
    "route_unknown": 404,
    "method_not_allowed": 405,
    "body_too_slow": 408,
    "count_changed": 409,
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
    """An error: `code` for programs, the other fields for users."""

    code: str = Field(examples=["unknown_solvent"])
    message: str = Field(examples=["unknown solvent 'chlorofrom'"])
    evidence: str | None = Field(None, examples=["chlorofrom"])
    remedy: str | None = Field(None, examples=["did you mean chloroform? known are chloroform, dmso, methanol"])


class ErrorBody(BaseModel):
    """The body of every response with status 400 or above."""

    error: Problem


_ABOUT = {
    400: "The request is malformed: an invalid name, path, cursor or header.",
    401: "The token is missing, unknown or revoked.",
    403: "The scope of the token is too small, or a page of another site sent the request.",
    404: "There is no such job, step, file, worker or token.",
    408: "The body did not arrive in time.",
    409: "Conflict with the current state: wrong job state, key used by another request, no result yet.",
    413: "The body is larger than QMRUNNER_API_MAX_BODY_MIB or than this route accepts.",
    415: "The body is neither JSON nor multipart.",
    422: "The request is invalid: unknown field or option, or a molecule that cannot be computed.",
    429: "Too many requests, or too many at once from this client; retry after `Retry-After` seconds.",
    503: "The store does not answer, or the server is busy; retry after `Retry-After` seconds.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented errors of a route, in addition to those of every route."""
    return {status: {"model": ErrorBody, "description": _ABOUT[status]} for status in sorted(statuses)}


class Json(JSONResponse):
    """JSON with states as text. A number that JSON cannot express raises ValueError: it is a bug."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":"), default=str).encode()


def refusal(problem: QmrunnerError) -> Json:
    """The response for a QmrunnerError."""
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


def refusal_for(request: Request, problem: QmrunnerError) -> Response:
    """The same as a page, where a page was asked for and this server has pages."""
    if getattr(request.state, "page", False) and request.app.state.pages is not None:
        found: Response = request.app.state.pages.refusal(request, problem)
        return found
    return refusal(problem)


def status_of(problem: QmrunnerError) -> int:
    if problem.code in _STATUS:
        return _STATUS[problem.code]
    if isinstance(problem, TooMany):
        return 429
    kinds = ((UsageError, 422), (NotFoundError, 404), (NotReadyError, 503))
    return next((status for kind, status in kinds if isinstance(problem, kind)), 500)


class TooMany(QmrunnerError):
    """More than the limit of one client or of this server; retry after `seconds`."""

    def __init__(self, code: str, message: str, remedy: str, seconds: int) -> None:
        super().__init__(code, message, remedy=remedy)
        self.seconds = seconds


class MethodNotAllowed(QmrunnerError):
    """This path has other methods."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = frozenset(allowed)
        words = ", ".join(sorted(self.allowed))
        super().__init__("method_not_allowed", "this path does not support this method", remedy=f"use {words}")


def rate_limited(seconds: int) -> TooMany:
    remedy = f"retry after {seconds} s; use streams instead of polling; the limit is QMRUNNER_API_RATE_PER_MINUTE"
    return TooMany("rate_limited", "too many requests from this client", remedy, seconds)


def register(api: FastAPI) -> None:
    """Send every error as an `ErrorBody`; `middleware` handles the remaining ones."""
    api.add_exception_handler(QmrunnerError, _ours)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _plain)


def _ours(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, QmrunnerError)
    return refusal_for(request, problem)


def invalid(details: list[Any]) -> UsageError:
    """The error for the problems pydantic found, with their places."""
    problems = [f"{'.'.join(str(part) for part in detail['loc']) or 'body'}: {detail['msg']}" for detail in details[:5]]
    return UsageError(
        "invalid_request",
        "the request does not match the schema of this route",
        evidence="; ".join(problems).encode(errors="replace").decode(),
        remedy="/docs and /openapi.json describe every field, with examples",
    )


def _invalid(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    return refusal_for(request, invalid(list(problem.errors())))


def _plain(_request: Request, problem: Exception) -> Json:
    """The response for requests the framework refuses; unknown routes and methods are refused earlier."""
    assert isinstance(problem, HTTPException)
    error = QmrunnerError("bad_request", str(problem.detail), remedy="/docs and /openapi.json describe every request")
    return Json({"error": error.as_dict()}, problem.status_code, dict(problem.headers or {}))


def unexpected(problem: Exception, request: Request | None = None) -> Response:
    """The response for a bug, which is logged: a page, where a page was asked for."""
    get_logger().error("internal_error", error=repr(problem), exc_info=problem)
    error = QmrunnerError(
        "internal_error",
        "internal error of qmrunner",
        remedy="report it together with the event `internal_error` of the log",
    )
    if request is not None:
        try:
            return refusal_for(request, error)
        except Exception as again:
            get_logger().error("internal_error", error=repr(again), exc_info=again)
    return Json({"error": error.as_dict()}, 500)
