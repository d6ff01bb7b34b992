"""The description at /openapi.json is true: generated requests get the answers it promises, and never a 5xx."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from qmrunner.api import docpage
from qmrunner.api.application import build
from qmrunner.api.service import Service
from qmrunner.api.upload.forms import EXAMPLES
from qmrunner.app import App
from qmrunner.settings import Settings
from tests.api.lab import Server, refused, served
from tests.sampling import share
from tests.support import Home

load_all_checks()


@schemathesis.serializer("application/x-ndjson")
def _lines(context: Any, value: Any) -> bytes:
    return str(value).encode(errors="replace")


_EXAMPLES = 8
_CHECKS = {
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "allow_header_conformance",
}  # fmt: skip
DESCRIBED: dict[str, Any] = build(Service(App(Settings()), trusts_everybody=True)).openapi()
# A stream without an end has no answer to hold against the description; tests/api/test_state.py reads it.
ENDLESS = {"/v1/events/stream"}
ROUTES = [
    (method, path, mode)
    for path, methods in DESCRIBED["paths"].items()
    for method, route in methods.items()
    for mode in GenerationMode
    if path not in ENDLESS
    # What asks for nothing cannot be asked wrongly.
    if mode is GenerationMode.POSITIVE or "parameters" in route or "requestBody" in route
]


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    """A server that has two jobs. Generated requests make tokens, so this one has some from the start."""
    secret = place.json("token", "add", "boss", "--scope", "admin")["secret"]
    with served(place) as running:
        running.client.headers["Authorization"] = f"Bearer {secret}"
        running.client.post(f"/v1/jobs/{running.submit()}/cancel")
        running.submit()
        yield running


@pytest.fixture(scope="module")
def served_schema(server: Server) -> Any:
    """The description as a running server gives it, which has two jobs."""
    found = schemathesis.openapi.from_dict(server.client.get("/openapi.json").json())
    found.config.update(base_url=server.url)
    return found


@pytest.mark.parametrize(("method", "path", "mode"), share(ROUTES, 2))
def test_generated_requests_are_answered_as_described(
    served_schema: Any, server: Server, method: str, path: str, mode: GenerationMode
) -> None:
    operation = served_schema[path][method.upper()]
    token = server.client.headers["Authorization"]
    checks = [check for check in CHECKS.get_all() if check.__name__ in _CHECKS]
    assert len(checks) == len(_CHECKS)

    @settings(
        max_examples=_EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(mode))
    def one(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": token}
        case.call_and_validate(checks=checks, timeout=60)

    one()


def test_generated_requests_were_let_in_and_never_met_a_fault(server: Server) -> None:
    statuses = Counter(event["status"] for event in server.events("request"))
    assert {200, 404, 422} <= set(statuses)
    assert statuses[401] < sum(statuses.values()) / 10
    assert not [status for status in statuses if status >= 500]
    assert server.events("internal_error") == []


def test_every_route_states_what_it_does_and_how_its_errors_look() -> None:
    for path, methods in DESCRIBED["paths"].items():
        for method, route in methods.items():
            assert route["description"], f"{method} {path}"
            for status, answer in route["responses"].items():
                if status >= "400":
                    body = answer["content"]["application/json"]["schema"]
                    assert body == {"$ref": "#/components/schemas/ErrorBody"}, f"{method} {path} {status}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_of_a_job_is_accepted_as_it_is_printed(server: Server, name: str) -> None:
    body = DESCRIBED["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    answer = server.client.post("/v1/jobs", json=body["examples"][name]["value"])
    assert answer.status_code == 201, answer.text


def test_the_description_is_plain_json(server: Server) -> None:
    assert json.loads(server.client.get("/openapi.json").text) == json.loads(json.dumps(DESCRIBED))
    refused(server.client.get("/redoc"), 404, "route_unknown")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        found = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "style", "onclick")]
        self.places.add(found.get("id") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_of_the_description_asks_no_other_host(server: Server) -> None:
    answer = server.client.get("/docs")
    page = _Page()
    page.feed(answer.text)
    assert {link for link in page.links if not link.startswith(("#", "/"))} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.places
    _is_complete(page)


def test_without_pages_the_description_runs_nothing_and_has_its_own_style() -> None:
    text = docpage.page(DESCRIBED)
    page = _Page()
    page.feed(text)
    assert not {"script", "link", "img", "iframe", "form", "object", "base"} & set(page.tags)
    policy = docpage.HEADERS["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    known = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith(f"style-src 'sha256-{known}'")
    _is_complete(page)


def _is_complete(page: _Page) -> None:
    for path in DESCRIBED["paths"]:
        assert path in page.text
    for name, shape in DESCRIBED["components"]["schemas"].items():
        assert name in page.text
        assert all(field in page.text for field in shape.get("properties", {}))
