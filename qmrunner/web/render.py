"""Templates to responses: one environment, and the headers of every page."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import escape

from qmrunner import __version__
from qmrunner.api.access import Caller
from qmrunner.api.service import service_of
from qmrunner.model import visible
from qmrunner.web import links, present
from qmrunner.web.static_files import Files

FILES = Files()
LIVE = "live_"  # blocks of these names are sent again when they change
_WORTH = 1000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with it browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def _visible(value: Any) -> Any:
    """Text as on a terminal: a name with invisible characters could pass for another one, or reverse the line.

    Fields of forms take their text through the filter `unchanged`, for it is sent back.
    """
    return visible.lines(value) if type(value) is str else value


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    made.filters |= {**present.FILTERS, **links.FILTERS, "unchanged": escape}
    made.globals |= {"static": FILES.url, "has_static": FILES.has, "version": __version__, **present.WORDS}
    return made


_ENVIRONMENT = _environment()


def headers(*, https: bool) -> dict[str, str]:
    """The headers of everything that is shown in a browser."""
    strict = {"Strict-Transport-Security": "max-age=31536000"} if https else {}
    return {**_HEADERS, **strict}


def is_https(request: Request) -> bool:
    """Whether browsers reach this server by https, through a proxy."""
    return (service_of(request).app.settings.api_url or "").startswith("https://")


def prefix(request: Request) -> str | None:
    """The path of this server below its proxy."""
    return service_of(request).app.settings.api_prefix


# Attributes that hold an address. In text and in values a quote is escaped, so that only attributes match.
_ADDRESSES = re.compile(r'((?:href|src|action|data-(?:live|uplot(?:-style)?|library|editor|from))=")/(?!/)')


def _below(html: str, prefix: str | None) -> str:
    """The same HTML with the prefix before its own addresses."""
    return html if not prefix else _ADDRESSES.sub(rf"\1{prefix}/", html)


def page(
    request: Request, template: str, values: Mapping[str, Any], *, status: int = 200, live: bool = False
) -> Response:
    """A whole page. `live`: it opens the stream of its address."""
    context = {**common(request), "live_url": None, **values}
    if live:
        query = f"?{request.url.query}" if request.url.query else ""
        seen = version(blocks(template, {**context, "now": None}))
        context |= {"live_url": f"/live{request.url.path}{query}", "live_version": seen}
    return answer(request, _ENVIRONMENT.get_template(template).render(_with_macros(context)), status)


def answer(request: Request, html: str, status: int = 200) -> Response:
    """A response with this HTML, compressed where that is understood."""
    body = _below(html, prefix(request)).encode()
    # The browser's Back shows the answer to a form again only if it may keep it; else it asks to send the form twice.
    kept = "no-store" if request.method == "GET" else "private, no-cache"
    more = {"Cache-Control": kept, "Vary": "Accept-Encoding, Cookie"}
    if len(body) > _WORTH and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, 4, mtime=0)
        more["Content-Encoding"] = "gzip"
    return Response(body, status, {**headers(https=is_https(request)), **more}, media_type="text/html; charset=utf-8")


def common(request: Request) -> dict[str, Any]:
    """What every template may use."""
    caller: Caller | None = getattr(request.state, "caller", None)
    store = service_of(request).app.store
    return {
        "me": caller,
        "can_write": caller is not None and caller.may("write"),
        "can_admin": caller is not None and caller.may("admin"),
        "now": store.now(),
        "prefix": prefix(request),
        "here": request.url.path,
        "here_query": request.url.query,
        "problem": None,
        "nav": None,
        "live_version": None,
    }


def blocks(template: str, context: Mapping[str, Any]) -> dict[str, str]:
    """The live parts of a page: HTML by name. Ages are left to the browser, so that a part changes only with its
    facts."""
    found: Template = _ENVIRONMENT.get_template(template)
    names = [name for name in found.blocks if name.startswith(LIVE)]
    inner = found.new_context(_with_macros(context))
    prefix = context.get("prefix")
    return {name: _below("".join(found.blocks[name](inner)).strip(), prefix) for name in names}


def _with_macros(context: Mapping[str, Any]) -> dict[str, Any]:
    """With the macros as `m`, which know the same context: an import in a template reaches no block alone."""
    return {**context, "m": _ENVIRONMENT.get_template("macros.html").make_module(dict(context))}


def version(parts: Mapping[str, str]) -> str:
    """A short name of the state of these parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
