"""Actions on many jobs over HTTP: the count comes first, and nothing more is moved than was expected."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.lab import XTB, Server, refused, served
from tests.support import Home


def submitted(server: Server, group: str, count: int = 3) -> list[str]:
    return [server.submit({**XTB, "group": group}) for _ in range(count)]


def asked(server: Server, **form: Any) -> dict[str, Any]:
    answer = server.client.post("/v1/jobs/actions", json=form)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_dry_run_counts_and_the_action_moves_what_it_counted(server: Server) -> None:
    made = submitted(server, "one")
    server.client.post(f"/v1/jobs/{made[0]}/cancel")
    wanted = {"group": ["one"]}
    looked = asked(server, verb="hold", filter=wanted, dry_run=True)
    assert (looked["moves"], looked["matched"], looked["states"]) == (2, 3, {"queued": 2})
    assert looked["skipped"][0]["id"] == made[0]
    assert server.client.get(f"/v1/jobs/{made[1]}").json()["job"]["state"] == "queued"
    done = asked(server, verb="hold", filter=wanted, expect=2)
    assert {row["id"]: row["state"] for row in done["jobs"]} == {made[1]: "held", made[2]: "held"}
    assert done["skipped_count"] == 1
    back = asked(server, verb="release", ids=[*made, "nothing"])
    assert (back["moves"], back["skipped_count"]) == (2, 2)


def test_more_jobs_than_expected_are_not_moved(server: Server) -> None:
    made = submitted(server, "two")
    form = {"verb": "cancel", "filter": {"q": "group:two"}, "expect": 2}
    refused(server.client.post("/v1/jobs/actions", json=form), 409, "count_changed")
    assert {server.client.get(f"/v1/jobs/{job}").json()["job"]["state"] for job in made} == {"queued"}


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"verb": "cancel", "filter": {"group": ["x"]}}, "invalid_request"),
        ({"verb": "cancel"}, "invalid_request"),
        ({"verb": "cancel", "ids": [], "filter": {"group": ["x"]}}, "invalid_request"),
        ({"verb": "delete", "ids": ["a"]}, "invalid_request"),
        ({"verb": "cancel", "ids": ["../x"]}, "invalid_request"),
        ({"verb": "priority", "ids": ["a"]}, "invalid_request"),
        ({"verb": "cancel", "ids": ["a"], "priority": 3}, "invalid_request"),
        ({"verb": "cancel", "filter": {}, "dry_run": True}, "bad_query"),
        ({"verb": "cancel", "filter": {"q": "  "}, "expect": 5}, "bad_query"),
        ({"verb": "cancel", "filter": {"q": "stat:x"}, "expect": 5}, "bad_query"),
        ({"verb": "cancel", "filter": {"structure": "C1CC"}, "expect": 5}, "invalid_smiles"),
    ],
)
def test_an_action_that_is_not_clear_is_refused(server: Server, form: dict[str, Any], code: str) -> None:
    refused(server.client.post("/v1/jobs/actions", json=form), 422, code)


def test_a_priority_is_set_for_one_job_and_for_many(server: Server) -> None:
    made = submitted(server, "three")
    assert server.client.post(f"/v1/jobs/{made[0]}/priority", params={"value": 7}).status_code == 200
    asked(server, verb="priority", ids=made[1:], priority=9)
    found = [server.client.get(f"/v1/jobs/{job}").json()["job"]["priority"] for job in made]
    assert found == [7, 9, 9]
    server.client.post(f"/v1/jobs/{made[0]}/cancel")
    refused(server.client.post(f"/v1/jobs/{made[0]}/priority", params={"value": 7}), 409, "wrong_state")


def test_an_action_needs_the_scope_and_its_event_names_the_token(home: Home) -> None:
    home.extra["QMRUNNER_XTB"] = "/bin/true"
    secrets = {name: home.json("token", "add", name, "--scope", name)["secret"] for name in ("read", "write")}
    with served(home) as server:
        server.client.headers["Authorization"] = f"Bearer {secrets['write']}"
        (job,) = submitted(server, "four", 1)
        form = {"verb": "cancel", "ids": [job]}
        reader = {"Authorization": f"Bearer {secrets['read']}"}
        refused(server.client.post("/v1/jobs/actions", json=form, headers=reader), 403, "scope_too_small")
        asked(server, **form)
        found = server.client.get(f"/v1/jobs/{job}/events").json()["events"]
        assert [row["data"] for row in found if row["event"] == "cancel_requested"] == [{"by": "write"}]
        again = server.client.post(f"/v1/jobs/{job}/retry")
        assert again.status_code == 200
        found = server.client.get(f"/v1/jobs/{job}/events").json()["events"]
        assert [row["data"]["by"] for row in found if row["event"] == "job_retried"] == ["write"]
