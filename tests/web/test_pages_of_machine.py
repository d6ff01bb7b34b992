"""Pages of a list of molecules, of this server's machine, of the API and of long jobs, without a browser."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import insert, select

from qmrunner.app import App
from qmrunner.store import jobs as job_store
from qmrunner.store import operator_actions
from qmrunner.store.tables import attempts, steps, workers
from tests.api.lab import Server, served
from tests.reports.test_arguments import message, task_of
from tests.support import Home

SAME = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
LIST = "CCO ethanol\nC(C broken\nc1ccccc1 benzene\nCCO ethanol\n"


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    with served(place) as running:
        yield running


def page(server: Server, path: str, data: dict[str, str] | None = None, **files: tuple[str, bytes]) -> httpx.Response:
    """A page, or the answer to its form."""
    with httpx.Client(base_url=server.url, headers=SAME, trust_env=False, timeout=120.0) as client:
        if data is None:
            return client.get(path)
        sent = files or {"none": ("", b"")}
        return client.post(path, data=data, files=sent)


def test_a_list_is_checked_line_by_line_and_its_good_lines_become_one_group(server: Server) -> None:
    before = len(server.jobs())
    checked = page(server, "/jobs/new/many", {"structures": LIST, "level": "quick", "do": "check"})
    assert checked.status_code == 200
    assert "3 of 4 molecules can be computed" in checked.text
    assert "invalid_smiles" in checked.text
    assert "C6H6" in checked.text
    assert len(server.jobs()) == before
    sent = {"structures": LIST, "level": "quick", "group": "my batch", "do": "submit"}
    done = page(server, "/jobs/new/many", sent)
    assert "2 submitted, 1 known before, 1 refused" in done.text
    made = [job for job in server.jobs() if job["group"] == "my batch"]
    assert sorted(job["name"] for job in made) == ["benzene", "ethanol"]
    again = page(server, "/jobs/new/many", {**sent, "structures": "CCO ethanol\n"})
    assert again.status_code == 303
    assert again.headers["location"] == "/jobs?q=group%3A%22my+batch%22"
    assert len([job for job in server.jobs() if job["group"] == "my batch"]) == 2


def test_a_file_of_a_list_names_its_group_and_its_columns_set_options(server: Server) -> None:
    table = b"smiles,name,charge,colour\n[NH4+],ammonium,1,red\nCCO,ethanol,x,blue\n"
    found = page(server, "/jobs/new/many", {"do": "check"}, file=("salts.csv", table))
    assert 'value="salts"' in found.text
    assert "Ignored columns: colour" in found.text
    assert "bad_number" in found.text
    assert "1 of 2 molecules" in found.text
    empty = page(server, "/jobs/new/many", {"structures": "# nothing\n", "do": "check"})
    assert (empty.status_code, "empty_file" in empty.text) == (422, True)
    many = page(server, "/jobs/new/many", {"structures": "C\n" * 501, "do": "check"})
    assert "too_many_lines" in many.text


def test_the_pages_of_the_machine_show_what_its_commands_print(server: Server) -> None:
    checks = json.loads(server.home.run("doctor", "--json").stdout)["checks"]
    shown = page(server, "/system/doctor").text
    assert all(f">{check['name'].replace('_', ' ')}</td>" in shown for check in checks)
    planned = server.home.json("scratch", "plan", "--jobs", "3", "--conformers", "7", "--atoms", "30")
    disks = page(server, "/system/scratch?jobs=3&conformers=7&atoms=30&level=draft").text
    assert "\n".join(planned["compose"]).replace('"', "&#34;") in disks
    assert "bad_field" in page(server, "/system/scratch?jobs=zero").text
    assert "unknown_level" in page(server, "/system/scratch?level=best").text
    swept = page(server, "/system/sweeps")
    assert swept.status_code == 200
    assert page(server, "/system/sweeps", {}).status_code == 200


def test_every_page_names_the_request_that_answers_the_same(server: Server) -> None:
    job = server.submit({"kind": "nmr", "smiles": "CCO", "group": "my batch & co", "name": "x"})
    pages = ["/", "/jobs", "/jobs?q=state:queued+name:x", "/workers", "/activity", "/activity?event=job_submitted",
             "/tokens", "/system/doctor", "/system/scratch", "/system/sweeps", f"/jobs/{job}", f"/jobs/{job}/why",
             f"/jobs/{job}/files"]  # fmt: skip
    for path in pages:
        (named,) = re.findall(r'data-curl="([^"]+)"', page(server, path).text)
        answer = server.client.get(html.unescape(named))
        assert answer.status_code in (200, 409), (path, named, answer.text)  # 409: no worker has used this home
    rows = server.client.get("/v1/jobs?q=state%3Aqueued+name%3Ax").json()["jobs"]
    assert [row["id"] for row in rows] == [job]


def test_a_filter_of_activity_reaches_older_events_and_stays_on_the_next_page(server: Server) -> None:
    job = server.submit()
    server.client.post(f"/v1/jobs/{job}/hold")
    app = App(server.home.settings)
    with app.store.write() as connection:
        for _ in range(210):
            operator_actions.priority(connection, app.store.now(), job, 1)
    app.close()
    assert "job held" not in re.sub(r"<option.*?</option>", "", page(server, "/activity").text)
    held = page(server, "/activity?event=job_held").text
    assert f'<a href="/jobs/{job}">' in held
    moved = page(server, "/activity?event=priority_set").text
    older = re.search(r'href="(/activity\?[^"]+)" rel="next"', moved)
    assert older is not None
    assert "event=priority_set" in older[1]


def test_arguments_of_a_task_are_shown_when_asked_for(server: Server) -> None:
    app = App(server.home.settings)
    job = task_of(app, message("<b>", 7))
    app.close()
    hidden = page(server, f"/jobs/{job}").text
    assert "arguments=show" in hidden
    assert "&lt;b&gt;" not in hidden
    shown = page(server, f"/jobs/{job}?arguments=show").text
    assert "<code>&#39;&lt;b&gt;&#39;</code>" in shown
    assert server.client.get(f"/v1/jobs/{job}/arguments").json()["args"] == ["'<b>'", "7"]
    other = server.client.get(f"/v1/jobs/{server.submit()}/arguments")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "no_arguments")


def test_a_priority_is_set_by_page_and_by_command(server: Server) -> None:
    job = server.submit()
    assert 'name="value" value="0"' in page(server, f"/jobs/{job}").text
    moved = page(server, f"/jobs/{job}/do", {"verb": "priority", "value": "7", "back": f"/jobs/{job}"})
    assert moved.status_code == 303
    assert server.client.get(f"/v1/jobs/{job}").json()["job"]["priority"] == 7
    assert page(server, f"/jobs/{job}/do", {"verb": "priority", "value": "1e9"}).status_code == 422
    assert server.home.run("priority", job, "--to", "-3").stdout == f"{job}: queued, priority -3\n"
    assert server.client.get(f"/v1/jobs/{job}").json()["job"]["priority"] == -3
    group = server.submit({"kind": "nmr", "smiles": "CCO", "group": "urgent"})
    assert server.home.json("priority", "--where", "group:urgent", "--to", "9", "--yes")["moves"] == 1
    assert server.client.get(f"/v1/jobs/{group}").json()["job"]["priority"] == 9


def test_many_jobs_get_a_priority_and_a_retry_that_may_alter_them(server: Server) -> None:
    jobs = [server.submit({"kind": "nmr", "smiles": smiles, "group": "a: b"}) for smiles in ("CO", "CN")]
    form = {"q": 'group:"a: b"', "which": "all"}
    planned = page(server, "/jobs/bulk", {**form, "verb": "priority"})
    assert 'name="value"' in planned.text
    assert "qmrunner priority --where &#39;group:&#34;a: b&#34;&#39; --to NUMBER" in planned.text
    assert planned.headers["cache-control"] == "private, no-cache"  # the browser's Back shows it again
    done = page(server, "/jobs/bulk", {**form, "verb": "priority", "expect": "2", "value": "12"})
    assert "2 moved" in done.text
    assert [server.client.get(f"/v1/jobs/{job}").json()["job"]["priority"] for job in jobs] == [12, 12]
    assert page(server, "/jobs/bulk", {**form, "verb": "priority", "expect": "2", "value": "x"}).status_code == 422
    server.client.post(f"/v1/jobs/{jobs[0]}/cancel")
    assert 'name="altering"' in page(server, "/jobs/bulk", {**form, "verb": "retry"}).text
    again = page(server, "/jobs/bulk", {**form, "verb": "retry", "expect": "1", "altering": "yes"})
    assert "1 moved" in again.text
    app = App(server.home.settings)
    with app.store.read() as connection:
        assert job_store.get(connection, jobs[0]).params["allow_altering"] is True
    app.close()
    assert "No row was selected" in page(server, "/jobs/bulk", {"verb": "hold"}).text


def test_the_page_of_the_api_has_every_route_and_the_frame_of_all_pages(server: Server) -> None:
    shown = page(server, "/docs").text
    assert all(path in shown for path in server.client.get("/openapi.json").json()["paths"])
    assert 'aria-label="Pages"' in shown
    assert "<style" not in shown


def test_the_page_of_a_job_with_4000_steps_is_small_and_quick(server: Server) -> None:
    job = server.submit({"kind": "nmr", "smiles": "CCCCCC", "conformers": "rdkit", "name": "long"})
    lengthen(server.home, job, 1000)
    times = []
    for _ in range(5):
        began = time.monotonic()
        answer = page(server, f"/jobs/{job}?step=shielding-c777")
        times.append(time.monotonic() - began)
    assert answer.status_code == 200
    assert len(answer.content) < 300_000
    assert min(times) < 1.0  # 0.1 s on an idle machine
    assert "Step <code>shielding-c777</code>" in answer.text
    letters = re.findall(r'data-letters="(\w+)" data-prefix="([\w-]+)"', answer.text)
    assert [(len(states), prefix) for states, prefix in letters] == [
        (1000, f"{stage}-c") for stage in ("preopt", "optimise", "shielding")
    ]
    why = page(server, f"/jobs/{job}/why")
    assert why.status_code == 200
    assert len(why.content) < 300_000


def lengthen(home: Home, job: str, count: int) -> None:
    """Add three stages of `count` steps, most of them succeeded, each with its attempt."""
    app = App(home.settings)
    try:
        app.open_store(create=False)
        with app.store.write() as connection:
            first = dict(connection.execute(select(steps).where(steps.c.job_id == job)).mappings().first() or {})
            now = app.store.now()
            del first["id"]
            worker = {
                "name": "w", "host": "h", "boot_id": "b", "pid_ns": "1", "pid": 1, "start_ticks": 1,
                "state": "stopped", "home_id": "h", "home": "/x", "slots": 1, "cores": 1, "memory_mib": 1,
                "beat_at": now, "created_at": now, "version": "0",
            }  # fmt: skip
            owner = connection.execute(insert(workers).values(**worker)).inserted_primary_key
            assert owner is not None
            for stage in ("preopt", "optimise", "shielding"):
                ended = {"state": "succeeded", "attempt": 1, "started_at": now, "finished_at": now + 5}
                rows = [{**first, **ended, "name": f"{stage}-c{at}", "stage": stage} for at in range(1, count + 1)]
                connection.execute(insert(steps), rows)
            mine = connection.execute(select(steps.c.id).where(steps.c.job_id == job, steps.c.attempt == 1)).scalars()
            attempt = {
                "number": 1, "job_id": job, "state": "succeeded", "worker_id": owner[0], "marker": "m",
                "directory": "/x", "log": "/x/log", "progress": {}, "usage": {}, "notes": ["one"] * 5,
                "granted": {"cores": 1, "memory_mib": 1, "scratch_mib": 1, "shm_mib": 1}, "created_at": now,
                "started_at": now, "finished_at": now + 5, "code": "ok",
            }  # fmt: skip
            connection.execute(insert(attempts), [{**attempt, "step_id": step} for step in mine])
    finally:
        app.close()
