"""Access: refused from other machines without a token, with too small a scope, and from pages of other sites."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.lab import XTB, Server, refused, served
from tests.support import ROOT, Home

READS = ["/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/why", "/v1/jobs/{job}/files",
         "/v1/jobs/{job}/files/input/water.xyz",
         "/v1/jobs/{job}/events", "/v1/jobs/{job}/events/stream", "/v1/jobs/{job}/steps/xtb/log",
         "/v1/jobs/{job}/steps/xtb/log/stream", "/v1/workers", "/metrics", "/openapi.json"]  # fmt: skip
STREAMS = [path for path in READS if path.endswith("/stream")]
WRITES = ["/v1/jobs", *(f"/v1/jobs/{{job}}/{verb}" for verb in ("cancel", "retry", "hold", "release"))]
ADMINS = [("POST", "/v1/pause"), ("POST", "/v1/resume"), ("POST", "/v1/workers/1/drain"),
          ("POST", "/v1/workers/1/resume"), ("GET", "/v1/tokens"), ("POST", "/v1/tokens"),
          ("DELETE", "/v1/tokens/writer")]  # fmt: skip


class Guarded:
    """A server with a job and a token of each scope."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.job = server.submit()
        self.secrets = {
            name: str(server.home.json("token", "add", name, "--scope", scope)["secret"])
            for name, scope in (("reader", "read"), ("writer", "write"), ("boss", "admin"), ("gone", "admin"))
        }
        assert server.home.run("token", "revoke", "gone").returncode == 0

    def ask(self, method: str, path: str, token: str | None, **more: Any) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {self.secrets.get(token, token)}"}
        return self.server.client.request(method, path.format(job=self.job), headers=headers, **more)


@pytest.fixture(scope="module")
def guarded(server: Server) -> Guarded:
    return Guarded(server)


@pytest.mark.parametrize(
    ("method", "path"), [*(("GET", path) for path in READS), *(("POST", path) for path in WRITES), *ADMINS]
)
def test_without_a_token_or_with_a_wrong_or_revoked_one_nothing_is_answered(
    guarded: Guarded, method: str, path: str
) -> None:
    assert refused(guarded.ask(method, path, None), 401, "token_needed")["remedy"]
    for token in ("nonsense", "qmr_" + "A" * 43, "gone", "x" * 5000):
        answer = guarded.ask(method, path, token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert guarded.job not in answer.text


@pytest.mark.parametrize("path", [path for path in READS if path not in STREAMS])
def test_the_smallest_scope_may_look_at_everything(guarded: Guarded, path: str) -> None:
    assert guarded.ask("GET", path, "reader").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "token"),
    [
        *(("POST", path, "reader") for path in WRITES),
        *((*one, token) for one in ADMINS for token in ("reader", "writer")),
    ],
)
def test_a_scope_that_is_too_small_changes_nothing(guarded: Guarded, method: str, path: str, token: str) -> None:
    before = (guarded.ask("GET", "/v1/jobs", "boss").json(), guarded.ask("GET", "/v1/tokens", "boss").json())
    refused(guarded.ask(method, path, token), 403, "scope_too_small")
    assert (guarded.ask("GET", "/v1/jobs", "boss").json(), guarded.ask("GET", "/v1/tokens", "boss").json()) == before


def test_write_submits_and_moves_jobs_and_admin_also_makes_tokens_and_pauses(guarded: Guarded) -> None:
    job = guarded.ask("POST", "/v1/jobs", "writer", json=XTB).json()["id"]
    for verb, state in (("hold", "held"), ("release", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        answer = guarded.ask("POST", f"/v1/jobs/{job}/{verb}", "writer")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    refused(guarded.ask("POST", f"/v1/jobs/{job}/retry", "writer"), 409, "wrong_state")
    assert guarded.ask("POST", "/v1/pause", "boss").json() == {"workers": [], "paused": True}
    assert guarded.ask("POST", "/v1/resume", "boss").json() == {"workers": [], "paused": False}
    refused(guarded.ask("POST", "/v1/workers/7/drain", "boss"), 404, "worker_unknown")
    made = guarded.ask("POST", "/v1/tokens", "boss", json={"name": "new", "scope": "read"}).json()
    assert guarded.ask("GET", "/v1/jobs", made["secret"]).status_code == 200
    refused(guarded.ask("POST", "/v1/tokens", "boss", json={"name": "new", "scope": "read"}), 409, "token_exists")
    assert guarded.ask("DELETE", "/v1/tokens/new", "boss").status_code == 204
    refused(guarded.ask("GET", "/v1/jobs", made["secret"]), 401, "token_refused")
    refused(guarded.ask("DELETE", "/v1/tokens/new", "boss"), 404, "token_unknown")
    refused(guarded.ask("POST", "/v1/tokens", "boss", json={"name": "../x", "scope": "read"}), 422, "invalid_request")


def test_health_and_readiness_need_no_token(guarded: Guarded) -> None:
    for path in ("/healthz", "/readyz"):
        answer = guarded.ask("GET", path, None)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_one_tokens_key_is_not_anothers(guarded: Guarded) -> None:
    def post(token: str) -> str:
        headers = {"Authorization": f"Bearer {guarded.secrets[token]}", "Idempotency-Key": "same"}
        return str(guarded.server.client.post("/v1/jobs", json=XTB, headers=headers).json()["id"])

    assert post("writer") == post("writer") != post("boss")


def test_secrets_are_in_no_file_log_or_list(guarded: Guarded) -> None:
    assert guarded.ask("GET", "/v1/jobs", "boss").status_code == 200
    kept = [path.read_bytes() for path in guarded.server.home.path.rglob("*") if path.is_file()]
    kept += [guarded.server.text().encode(), guarded.server.home.run("token", "list", "--json").stdout.encode()]
    assert [name for name, secret in guarded.secrets.items() if any(secret.encode() in data for data in kept)] == []
    named = [event["token"] for event in guarded.server.events("request") if event.get("token")]
    assert set(named) - {"new"} == {"reader", "writer", "boss"}


def test_the_list_of_tokens_has_names_and_scopes(guarded: Guarded) -> None:
    listed = {one["name"]: one["scope"] for one in guarded.server.home.json("token", "list")}
    assert listed == {"reader": "read", "writer": "write", "boss": "admin"}
    assert "boss" in guarded.server.home.run("token", "list").stdout


@pytest.mark.parametrize("words", [["add", "a b", "--scope", "read"], ["add", "a", "--scope", "root"], ["add", "-"]])
def test_a_token_that_cannot_be_is_refused_with_2(home: Home, words: list[str]) -> None:
    assert home.run("token", *words).returncode == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_a_token_first(home: Home, host: str) -> None:
    ended = home.run("serve", "--host", host, "--port", "0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("qmrunner: token_needed")
    assert "qmrunner token add" in ended.stderr


def test_with_a_token_every_address_may_be_served_and_the_last_one_revoked_opens_nothing(home: Home) -> None:
    secret = home.json("token", "add", "alice", "--scope", "read")["secret"]
    with served(home, "--host", "0.0.0.0") as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        headers = {"Authorization": f"Bearer {secret}"}
        assert httpx.get(f"{url}/v1/jobs", headers=headers, trust_env=False, timeout=60.0).status_code == 200
        assert home.run("token", "revoke", "alice").returncode == 0
        refused(httpx.get(f"{url}/v1/jobs", trust_env=False, timeout=60.0), 401, "token_needed")
        refused(httpx.get(f"{url}/v1/jobs", headers=headers, trust_env=False, timeout=60.0), 401, "token_refused")


@pytest.fixture
def open_server(home: Home) -> Iterator[Server]:
    with served(home) as server:
        yield server


def test_on_loopback_without_tokens_pages_of_other_sites_are_refused(open_server: Server) -> None:
    client = open_server.client
    assert client.get("/v1/jobs").status_code == 200
    own = open_server.url
    assert client.get("/v1/jobs", headers={"Origin": own}).status_code == 200
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:80"}, {"Host": ""}):
        refused(client.get("/v1/jobs", headers=headers), 403, "cross_origin")
    form = {"job": json.dumps({"kind": "xtb"})}
    for foreign in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = client.post("/v1/jobs", data=form, files={"file": ("w.xyz", "x")}, headers=foreign)
        refused(answer, 403, "cross_origin")
    assert open_server.jobs() == []
    assert client.get("/v1/jobs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link


def test_a_client_that_asks_too_often_learns_when_to_ask_again(home: Home) -> None:
    home.extra["QMRUNNER_API_RATE_PER_MINUTE"] = "5"
    with served(home) as server:
        answers = [server.client.get("/v1/jobs") for _ in range(7)]
        assert [one.status_code for one in answers[:5]] == [200] * 5
        refused(answers[-1], 429, "rate_limited")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
        assert server.client.get("/healthz").status_code == 200
        secret = home.json("token", "add", "alice", "--scope", "read")["secret"]
        headers = {"Authorization": f"Bearer {secret}"}
        assert server.client.get("/v1/jobs", headers=headers).status_code == 200
        assert server.client.get("/v1/jobs", headers={"Authorization": "Bearer guess"}).status_code == 429


def test_a_port_that_is_taken_ends_with_4(open_server: Server) -> None:
    port = open_server.url.rsplit(":", 1)[1]
    ended = open_server.home.run("serve", "--port", port)
    assert ended.returncode == 4
    assert ended.stderr.startswith("qmrunner: cannot_listen")


def test_without_the_optional_part_it_states_what_to_install(home: Home, tmp_path: Path) -> None:
    """As where fastapi is not installed: a module of that name that cannot be found."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['fastapi'] = None\n")
    environment = home.environment(PYTHONPATH=f"{tmp_path}:{ROOT}")
    ended = subprocess.run(
        [sys.executable, "-m", "qmrunner", "serve"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 4
    assert ended.stderr.startswith("qmrunner: api_missing")
    assert "qmrunner[api]" in ended.stderr


def test_the_first_token_may_come_from_a_file_and_only_the_first(place: Home, tmp_path: Path) -> None:
    """As a Secret of Kubernetes is mounted; two servers may start at once, and a later secret changes nothing."""
    home = Home(tmp_path / "home", place.extra)
    file = tmp_path / "api_token"
    first, second = "a1" * 20, "b2" * 20
    file.write_text(f"{first}\n")
    for secret, status in ((first, 200), (second, 401)):
        with served(home, "--host", "0.0.0.0", QMRUNNER_API_TOKEN_FILE=str(file)) as running:
            url = running.url.replace("0.0.0.0", "127.0.0.1")
            answer = httpx.get(
                f"{url}/v1/tokens", headers={"Authorization": f"Bearer {secret}"}, trust_env=False, timeout=60.0
            )
            assert answer.status_code == status, answer.text
            assert secret not in running.text()
        file.write_text(second)
    assert [token["name"] for token in home.json("token", "list")] == ["admin"]


@pytest.mark.parametrize("content", ["short", "with a space in it, but long enough otherwise", "", None])
def test_a_file_without_a_good_secret_is_refused(place: Home, tmp_path: Path, content: str | None) -> None:
    home = Home(tmp_path / "home", place.extra)
    file = tmp_path / "api_token"
    if content is not None:
        file.write_text(content)
    ended = home.run("serve", "--port", "0", QMRUNNER_API_TOKEN_FILE=str(file))
    assert ended.returncode in (2, 4)
    assert ("bad_token_secret" in ended.stderr) is (content is not None)
