"""Sign-in, sessions and requests of other sites, without a browser: what the server itself holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.api.lab import Server, served
from tests.support import Home

SAME = {"Sec-Fetch-Site": "same-origin"}


class Guarded:
    """A server with a job and a token of each scope."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.job = server.submit()
        self.clients: dict[str, httpx.Client] = {}
        self.secrets = {
            name: str(server.home.json("token", "add", name, "--scope", scope)["secret"])
            for name, scope in (("reader", "read"), ("writer", "write"), ("boss", "admin"))
        }

    def signed_in(self, name: str) -> httpx.Client:
        """A client with the cookie of a session, as a browser has it."""
        client = httpx.Client(base_url=self.server.url, trust_env=False, timeout=60.0)
        answer = client.post("/login", data={"secret": self.secrets[name]}, headers=SAME)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        return client


@pytest.fixture(scope="module")
def guarded(place: Home) -> Iterator[Guarded]:
    with served(place) as server:
        found = Guarded(server)
        yield found
        for client in found.clients.values():
            client.close()


def test_a_session_admits_to_pages_and_routes_and_its_cookie_is_for_this_server_only(guarded: Guarded) -> None:
    with closing(guarded.signed_in("reader")) as client:
        cookie = next(iter(client.cookies.jar))
        assert cookie.name == f"qmrunner_{guarded.server.url.rsplit(':', 1)[1]}"
        assert cookie.path == "/"
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
        assert len(cookie.value or "") == 43
        assert client.get("/jobs").status_code == 200
        assert client.get("/v1/jobs").status_code == 200
        assert client.get("/tokens").status_code == 403
        assert client.get("/jobs/new").status_code == 403
        kept = [path.read_bytes() for path in guarded.server.home.path.rglob("*") if path.is_file()]
        assert not [data for data in kept if (cookie.value or "").encode() in data]
        assert (cookie.value or "") not in guarded.server.text()


def test_without_a_session_a_page_leads_to_the_sign_in_and_back(guarded: Guarded) -> None:
    answer = httpx.get(f"{guarded.server.url}/jobs?q=state:failed", trust_env=False, timeout=60.0)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/jobs%3Fq%3Dstate%3Afailed")
    assert guarded.job not in answer.text
    docs = httpx.get(
        f"{guarded.server.url}/docs", headers={"Authorization": "Bearer wrong"}, trust_env=False, timeout=60.0
    )
    assert (docs.status_code, docs.headers["location"]) == (303, "/login?next=/docs")
    assert "/v1/jobs" not in docs.text
    streams = httpx.get(f"{guarded.server.url}/live/jobs", trust_env=False, timeout=60.0)
    assert streams.status_code == 401
    posted = httpx.post(
        f"{guarded.server.url}/jobs/{guarded.job}/do", data={"verb": "cancel"}, trust_env=False, timeout=60.0
    )
    assert posted.status_code == 401
    assert guarded.server.home.job(guarded.job)["state"] == "queued"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}, {},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
    ],
)  # fmt: skip
def test_a_session_does_not_count_for_pages_of_other_sites_and_ports(guarded: Guarded, headers: dict[str, str]) -> None:
    host = guarded.server.url.removeprefix("http://")
    sent = {name: value.format(host=host) for name, value in headers.items()}
    client = _writer(guarded)
    for path in (f"/jobs/{guarded.job}/do", f"/v1/jobs/{guarded.job}/hold", "/jobs/new", "/logout", "/v1/jobs"):
        answer = client.post(path, data={"verb": "hold"}, headers=sent)
        assert answer.status_code == 403, path
        assert "cross_origin" in answer.text
    assert guarded.server.home.job(guarded.job)["state"] == "queued"
    assert client.get("/jobs").status_code == 200


def test_own_pages_act_by_either_header_and_never_beside_a_token(guarded: Guarded) -> None:
    client = _writer(guarded)
    own = {"Origin": guarded.server.url}
    assert client.post(f"/jobs/{guarded.job}/do", data={"verb": "hold"}, headers=own).status_code == 303
    assert guarded.server.home.job(guarded.job)["state"] == "held"
    assert client.post(f"/v1/jobs/{guarded.job}/release", headers=SAME).status_code == 200
    bearer = {**SAME, "Authorization": "Bearer nonsense"}
    assert client.post(f"/v1/jobs/{guarded.job}/hold", headers=bearer).status_code == 401


def test_a_forged_request_of_a_reader_changes_nothing(guarded: Guarded) -> None:
    with closing(guarded.signed_in("reader")) as client:
        page = client.get(f"/jobs/{guarded.job}")
        assert 'method="post"' not in page.text.partition("<main")[2]
        for path, data in (
            (f"/jobs/{guarded.job}/do", {"verb": "cancel"}), ("/system/do", {"verb": "pause"}),
            ("/workers/1/do", {"verb": "drain"}), ("/tokens", {"verb": "add", "name": "x", "scope": "admin"}),
            ("/jobs/new", {"kind": "nmr", "structure": "CCO"}),
        ):  # fmt: skip
            answer = client.post(path, data=data, headers=SAME)
            assert (answer.status_code, "scope_too_small" in answer.text) == (403, True), path


def test_a_code_signs_in_once_and_a_revoked_token_ends_its_sessions(place: Home, guarded: Guarded) -> None:
    port = guarded.server.url.rsplit(":", 1)[1]
    made = place.run("web", "--token", "boss", QMRUNNER_API_PORT=port)
    assert made.returncode == 0, made
    address, _, code = made.stdout.strip().partition("#code=")
    assert address == f"http://localhost:{port}/login"
    with httpx.Client(base_url=guarded.server.url, trust_env=False, timeout=60.0) as client:
        assert client.post("/login", data={"code": code}, headers=SAME).status_code == 303
        assert client.get("/tokens").status_code == 200
        again = httpx.post(
            f"{guarded.server.url}/login", data={"code": code}, headers=SAME, trust_env=False, timeout=60.0
        )
        assert (again.status_code, "code_refused" in again.text) == (401, True)
        assert place.run("token", "revoke", "boss").returncode == 0
        assert client.get("/v1/jobs").status_code == 401
        assert client.get("/jobs").status_code == 303
    several = place.run("web", QMRUNNER_API_PORT=port)
    assert (several.returncode, several.stderr.split(":")[1].strip()) == (2, "token_ambiguous")


def test_wrong_tokens_are_refused_and_guessing_is_slow(place: Home) -> None:
    with served(place) as server:
        answers = [_try(server, "wrong") for _ in range(6)]
        assert [one.status_code for one in answers] == [401] * 5 + [429]
        assert "token_refused" in answers[0].text
        assert "set-cookie" not in answers[0].headers


@pytest.mark.parametrize("host", ["qm.example.org", "192.0.2.7:8642"])
def test_plain_http_from_elsewhere_is_refused_at_the_sign_in(place: Home, guarded: Guarded, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    with served(place) as server:
        answer = httpx.post(f"{server.url}/login", data={"secret": "x"}, headers=headers, trust_env=False, timeout=60.0)
        assert (answer.status_code, "tls_needed" in answer.text) == (403, True)
    with served(place, QMRUNNER_API_URL=f"https://{host}") as server:
        secret = guarded.secrets["reader"]
        answer = httpx.post(
            f"{server.url}/login", data={"secret": secret}, headers={**headers, **SAME}, trust_env=False, timeout=60.0
        )
        assert answer.status_code == 303
        assert answer.headers["set-cookie"].startswith("__Host-qmrunner_")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "x", "javascript:1"]
)
def test_no_sign_in_leads_to_another_host(place: Home, guarded: Guarded, wanted: str) -> None:
    with served(place) as server:
        answer = httpx.post(
            f"{server.url}/login", data={"secret": guarded.secrets["reader"], "next": wanted}, headers=SAME,
            trust_env=False, timeout=60.0,
        )  # fmt: skip
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def _writer(guarded: Guarded) -> httpx.Client:
    """One session for many tests: sign-ins are limited."""
    if "writer" not in guarded.clients:
        guarded.clients["writer"] = guarded.signed_in("writer")
    return guarded.clients["writer"]


def _try(server: Server, secret: str, **more: Any) -> httpx.Response:
    return httpx.post(
        f"{server.url}/login", data={"secret": secret}, headers=SAME, trust_env=False, timeout=60.0, **more
    )
