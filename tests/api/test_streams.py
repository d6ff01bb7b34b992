"""Streams: nothing is sent twice or left out, resumed where they broke off, ended with job, token or server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from qmrunner.api.logfiles import _whole
from qmrunner.app import App
from qmrunner.store.claims import Claim
from tests.api.lab import Server, events_of, refused, served
from tests.store.work import REQUEUE, SUCCEED, Work
from tests.support import Home, wait_for


def move(server: Server, job: str, *verbs: str) -> None:
    for verb in verbs:
        assert server.client.post(f"/v1/jobs/{job}/{verb}").status_code == 200


def events(server: Server, job: str, **headers: str) -> list[dict[str, Any]]:
    with server.client.stream("GET", f"/v1/jobs/{job}/events/stream", headers=headers) as stream:
        return list(events_of(stream.iter_lines()))


class Following:
    """A stream that is read beside the test."""

    def __init__(self, server: Server, path: str, **headers: str) -> None:
        self.told: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, args=(server, path, headers))
        self._thread.start()

    def _read(self, server: Server, path: str, headers: dict[str, str]) -> None:
        with server.client.stream("GET", path, headers=headers) as stream:
            for one in events_of(stream.iter_lines()):
                self.told.append(one)

    def wait(self, name: str) -> None:
        wait_for(lambda: any(one["event"] == name for one in self.told), 30.0, f"event {name}")

    def ended(self) -> list[dict[str, Any]]:
        self._thread.join(30.0)
        assert not self._thread.is_alive()
        return self.told


def test_events_come_as_they_happen_and_the_stream_ends_with_the_job(server: Server) -> None:
    job = server.submit()
    following = Following(server, f"/v1/jobs/{job}/events/stream")
    following.wait("job_accepted")
    move(server, job, "hold")
    following.wait("job_held")
    move(server, job, "release", "cancel")
    told = following.ended()
    assert [one["event"] for one in told] == [
        "job_accepted", "job_held", "job_released", "cancel_requested", "job_cancelled", "end",
    ]  # fmt: skip
    assert told[-1]["data"] == {"state": "cancelled"}
    assert [one["id"] for one in told[:-1]] == [str(one["data"]["id"]) for one in told[:-1]]


def test_a_stream_is_resumed_behind_the_last_event_and_not_opened_again_when_all_is_sent(server: Server) -> None:
    job = server.submit()
    move(server, job, "hold", "cancel")
    told = events(server, job)
    for number, one in enumerate(told[:-1]):
        rest = events(server, job, **{"Last-Event-ID": one["id"]})
        assert rest == told[number + 1 :] if number < len(told) - 2 else rest == []
    last = {"Last-Event-ID": told[-2]["id"]}
    assert server.client.get(f"/v1/jobs/{job}/events/stream", headers=last).status_code == 204
    for value in ("x", "-1", "1:2"):
        answer = server.client.get(f"/v1/jobs/{job}/events/stream", headers={"Last-Event-ID": value})
        refused(answer, 400, "bad_header")


def test_the_list_of_events_can_be_read_in_parts(server: Server) -> None:
    job = server.submit()
    move(server, job, "hold", "release", "cancel")
    whole = server.client.get(f"/v1/jobs/{job}/events").json()["events"]
    parts, last = [], 0
    while part := server.client.get(f"/v1/jobs/{job}/events", params={"after": last, "limit": 2}).json()["events"]:
        parts += part
        last = part[-1]["id"]
    assert parts == whole
    assert [one["event"] for one in whole][0::4] == ["job_accepted", "job_cancelled"]


def test_a_stop_of_the_server_ends_its_streams_and_its_status_is_0(home: Home) -> None:
    with served(home) as server:
        job = server.submit({"kind": "nmr", "smiles": "C"})
        paths = [f"/v1/jobs/{job}/events/stream", f"/v1/jobs/{job}/steps/embed/log/stream"]
        following = [Following(server, path) for path in paths]
        following[0].wait("job_accepted")
        wait_for(lambda: "qmrunner_api_streams 2.0" in server.client.get("/metrics").text, 30.0, "both streams")
        assert server.stop() == 0
        for one in following:
            assert one.ended()[-1] == {"event": "end", "data": {"reason": "server_stops"}}
        assert [event["event"] for event in server.events()][-1] == "api_stopped"


def test_a_stream_ends_when_its_token_is_revoked(home: Home) -> None:
    with served(home) as server:
        job = server.submit({"kind": "nmr", "smiles": "C"})
        secret = home.json("token", "add", "alice", "--scope", "read")["secret"]
        home.json("token", "add", "other", "--scope", "read")
        following = Following(server, f"/v1/jobs/{job}/events/stream", Authorization=f"Bearer {secret}")
        following.wait("job_accepted")
        assert home.run("token", "revoke", "alice").returncode == 0
        assert following.ended()[-1]["data"] == {"reason": "token_refused"}


# -- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def work(server: Server) -> Iterator[Work]:
    """Workers and attempts of the server's store, moved by the test as a daemon would."""
    app = App(server.home.settings)
    yield Work(app.open_store(create=True))
    app.close()


def write_log(server: Server, claim: Claim, text: str) -> None:
    folder = server.home.settings.logs_root / claim.step.job_id
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{claim.step.name}.{claim.number}.log", "ab") as log:
        log.write(text.encode())


def test_a_log_is_followed_through_all_attempts_and_resumed_anywhere(server: Server, work: Work) -> None:
    worker, job = work.worker(), work.job(priority=1)
    path = f"/v1/jobs/{job}/steps/a/log/stream"
    following = Following(server, path)
    first = work.claimed(worker)
    work.start(first)
    write_log(server, first, "one\n")
    following.wait("log")
    write_log(server, first, "zwei ä" * 20_000)
    work.finish(first, REQUEUE)
    second = work.claimed(worker)
    work.start(second)
    write_log(server, second, "again\n")
    work.finish(second, SUCCEED)
    told = following.ended()
    assert told[-1]["data"] == {"state": "succeeded"}
    pieces = [one for one in told if one["event"] == "log"]
    assert len(pieces) > 3
    whole = [(one["data"]["attempt"], one["data"]["text"]) for one in pieces]
    assert "".join(text for attempt, text in whole if attempt == 1) == "one\n" + "zwei ä" * 20_000
    assert "".join(text for attempt, text in whole if attempt == 2) == "again\n"
    for number, one in enumerate(pieces[:-1]):
        rest = Following(server, path, **{"Last-Event-ID": one["id"]}).ended()
        assert "".join(one["data"]["text"] for one in rest[:-1]) == "".join(text for _, text in whole[number + 1 :])
    assert server.client.get(path, headers={"Last-Event-ID": pieces[-1]["id"]}).status_code == 204
    refused(server.client.get(path, headers={"Last-Event-ID": "1"}), 400, "bad_header")
    tail = Following(server, f"{path}?attempt=2&offset=3").ended()
    assert [one["data"].get("text") for one in tail] == ["in\n", None]
    part = server.client.get(f"/v1/jobs/{job}/steps/a/log", params={"attempt": 1, "offset": 2, "limit": 5})
    assert (part.content, part.headers["x-next-offset"]) == (b"e\nzwe"[:5], "7")


def test_a_log_that_is_on_another_machine_is_read_from_what_the_step_published(server: Server, work: Work) -> None:
    worker, job = work.worker(), work.job(priority=1)
    work.finish(work.claimed(worker), SUCCEED)
    published = server.home.settings.jobs_root / job / "a" / "output.log"
    published.parent.mkdir(parents=True)
    published.write_text("from elsewhere\n")
    told = Following(server, f"/v1/jobs/{job}/steps/a/log/stream").ended()
    assert [one["data"].get("text") for one in told] == ["from elsewhere\n", None]


def test_a_log_can_be_read_from_any_offset_and_only_where_there_is_one(server: Server) -> None:
    job = server.submit()
    answer = server.client.get(f"/v1/jobs/{job}/steps/xtb/log")
    assert (answer.status_code, answer.content, answer.headers["x-attempt"]) == (200, b"", "0")
    refused(server.client.get(f"/v1/jobs/{job}/steps/nope/log"), 404, "step_unknown")
    refused(server.client.get(f"/v1/jobs/{job}/steps/xtb/log", params={"attempt": 1}), 404, "attempt_unknown")
    refused(server.client.get(f"/v1/jobs/{job}/steps/xtb/log", params={"offset": -1}), 422, "invalid_request")


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_character_is_never_cut_in_two(cut: int) -> None:
    data = "aé€😀".encode()[:cut]
    whole = _whole(data)
    assert whole.decode() == "aé€😀"[: len(whole.decode())]
    assert len(data) - len(whole) < 4
