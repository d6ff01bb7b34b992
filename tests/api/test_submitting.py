"""Submission over HTTP: the same checks as on the command line, one job for each key, and nothing stored of what is
refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qmrunner.api.upload.sandbox import Children
from qmrunner.confinement import interpreter, policy
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.guardian import process_tree
from qmrunner.settings import Settings
from tests.api.lab import WATER, XTB, Server, refused, served
from tests.support import Home, wait_for

DECK = "start w\ngeometry\n load format xyz water.xyz\nend\nbasis\n * library 6-31g\nend\ntask scf energy\n"


def water(**more: Any) -> dict[str, Any]:
    return {**XTB, **more}


@pytest.fixture
def nothing_stored(server: Server) -> Iterator[None]:
    """Jobs, folders and rows are the same after the test as before."""
    folder = server.home.settings.jobs_root
    before = (server.jobs(), sorted(folder.iterdir()) if folder.exists() else [])
    yield
    assert (server.jobs(), sorted(folder.iterdir()) if folder.exists() else []) == before


def test_a_job_submitted_as_json_is_stored_with_its_input_as_the_command_line_stores_it(server: Server) -> None:
    job = server.submit(water(name="mine", priority=3, args=["--opt"]))
    (server.home.path.parent / "water.xyz").write_text(WATER)
    ended = server.home.run("submit", "xtb", "water.xyz", "--name", "mine", "--priority", "3", "--", "--opt")
    typed = ended.stdout.strip()
    assert (server.home.settings.jobs_root / job / "input" / "water.xyz").read_text() == WATER
    same = ("kind", "name", "state", "priority", "progress")
    rows = {row["id"]: {name: row[name] for name in same} for row in server.jobs()}
    assert rows[job] == rows[typed]


def test_files_of_a_multipart_request_come_in_their_order_the_input_first(server: Server) -> None:
    parts = [("file", ("deck.nw", DECK)), ("file", ("water.xyz", WATER))]
    answer = server.client.post("/v1/jobs", data={"job": '{"kind": "nwchem"}'}, files=parts)
    assert answer.status_code == 201, answer.text
    folder = server.home.settings.jobs_root / answer.json()["id"] / "input"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"deck.nw": DECK, "water.xyz": WATER}


def test_a_structure_may_be_uploaded_for_shifts_and_its_charge_is_checked(server: Server) -> None:
    def post(form: dict[str, Any]) -> Any:
        return server.client.post(
            "/v1/jobs", data={"job": json.dumps({"kind": "nmr", **form})}, files={"file": ("w.xyz", WATER)}
        )

    assert post({}).status_code == 201
    refused(post({"charge": 1}), 422, "radical")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"kind": "nmr", "smiles": "CCO", "solvent": "chlorofrom"}, "unknown_solvent"),
        ({"kind": "nmr", "smiles": "CCO", "level": "drafd"}, "unknown_level"),
        ({"kind": "nmr", "smiles": "not a smiles"}, "invalid_smiles"),
        ({"kind": "nmr", "smiles": "C" * 200}, "too_many_atoms"),
        ({"kind": "nmr", "smiles": "CC", "temperature_k": -1.0}, "bad_number"),
        ({"kind": "nmr"}, "input_missing"),
        ({"kind": "nmr", "smiles": "CC", "files": XTB["files"]}, "input_missing"),
        ({"kind": "xtb"}, "input_missing"),
        ({"kind": "xtb", "files": [{"name": "w.xyz", "text": " "}]}, "empty_file"),
        ({"kind": "xtb", "files": [{"name": "w.xyz", "text": "2\n\nO 0 0 0\n"}]}, "atom_count_mismatch"),
        (water(args=["--input", "/etc/passwd"]), "argument_escapes"),
        (water(args=["--input", "../../other"]), "argument_escapes"),
        (water(args=["--uhf", "1"]), "charge_multiplicity"),
        ({"kind": "nwchem", "files": [{"name": "x.nw", "text": "start x\n"}]}, "no_task"),
        ({"kind": "orca"}, "invalid_request"),
        (water(solvent="water"), "invalid_request"),
        (water(priority="high"), "invalid_request"),
        (water(priority=10**30), "invalid_request"),
        (water(name="a\0b"), "invalid_request"),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_bad_input_is_refused_with_a_code_and_a_remedy(server: Server, form: dict[str, Any], code: str) -> None:
    refused(server.client.post("/v1/jobs", json=form), 422, code)


@pytest.mark.parametrize(
    "smiles", ["/etc/passwd", "/etc/hostname.xyz", "water.xyz", "CC ../store.xyz", "~/x.mol", "file:///etc/passwd"]
)
@pytest.mark.usefixtures("nothing_stored")
def test_a_smiles_is_never_looked_for_among_the_files_of_the_server(server: Server, smiles: str) -> None:
    (server.home.path.parent / "water.xyz").write_text(WATER)
    error = refused(server.client.post("/v1/jobs", json={"kind": "nmr", "smiles": smiles}), 422, "invalid_smiles")
    assert "did you mean" not in error["remedy"]


@pytest.mark.parametrize(
    "name",
    ["../water.xyz", "/etc/water.xyz", "a/../../water.xyz", "..", "C:\\water.xyz", "..\\water.xyz", "-o.xyz", ".xtbrc",
     "water\n.xyz", "water\0.xyz", "w" * 300 + ".xyz", "é" * 100 + ".xyz", "folder/"],
)  # fmt: skip
@pytest.mark.usefixtures("nothing_stored")
def test_a_hostile_file_name_is_refused(server: Server, name: str) -> None:
    refused(
        server.client.post("/v1/jobs", json={"kind": "xtb", "files": [{"name": name, "text": WATER}]}),
        400,
        "bad_file_name",
    )


def test_of_a_harmless_path_the_last_part_names_the_file(server: Server) -> None:
    job = server.submit({"kind": "xtb", "files": [{"name": "my/water.xyz", "text": WATER}]})
    assert [path.name for path in (server.home.settings.jobs_root / job / "input").iterdir()] == ["water.xyz"]


@pytest.mark.usefixtures("nothing_stored")
def test_what_is_no_json_or_multipart_is_refused(server: Server) -> None:
    post = server.client.post
    json_type = {"content-type": "application/json"}
    refused(post("/v1/jobs", content=b"{", headers=json_type), 422, "invalid_request")
    refused(post("/v1/jobs", content=b'{"kind": "xtb", "name": "\\ud800"}', headers=json_type), 422, "invalid_request")
    refused(post("/v1/jobs", content=b"x", headers={"content-type": "text/plain"}), 415, "unsupported_media_type")
    refused(post("/v1/jobs", content=b"x", headers={"content-type": "multipart/form-data"}), 400, "bad_request")
    refused(post("/v1/jobs", files={"file": ("w.xyz", WATER)}), 422, "invalid_request")
    twice = [("file", ("w.xyz", WATER)), ("file", ("a/w.xyz", WATER))]
    refused(post("/v1/jobs", data={"job": '{"kind": "xtb"}'}, files=twice), 422, "duplicate_file")
    refused(
        post("/v1/jobs", data={"job": json.dumps(XTB)}, files={"file": ("water.xyz", WATER)}), 422, "duplicate_file"
    )
    other = {"job": (None, '{"kind": "xtb"}'), "other": ("w.xyz", WATER)}
    refused(post("/v1/jobs", files=other), 422, "invalid_request")


@pytest.mark.usefixtures("nothing_stored")
def test_an_engine_that_is_not_installed_here_is_reported(server: Server) -> None:
    form = {"kind": "crest", "files": XTB["files"]}
    refused(server.client.post("/v1/jobs", json=form), 422, "engine_missing")


def test_the_same_key_with_the_same_request_gives_the_same_job(server: Server) -> None:
    first = server.client.post("/v1/jobs", json=water(), headers={"Idempotency-Key": "k1"})
    again = server.client.post("/v1/jobs", json=water(priority=0), headers={"Idempotency-Key": "k1"})
    parts = {"file": ("water.xyz", WATER)}
    also = server.client.post(
        "/v1/jobs", data={"job": '{"kind": "xtb"}'}, files=parts, headers={"Idempotency-Key": "k1"}
    )
    assert (first.status_code, again.status_code, also.status_code) == (201, 200, 200)
    assert first.json() == again.json() == also.json()


def test_the_same_key_with_another_request_is_a_conflict(server: Server) -> None:
    job = server.submit(water(), **{"Idempotency-Key": "k2"})
    other = {"kind": "xtb", "files": [{"name": "water.xyz", "text": WATER.replace("0.757", "0.758")}]}
    for form in (water(priority=1), water(args=["--opt"]), other, {"kind": "nmr", "smiles": "C"}):
        error = refused(server.client.post("/v1/jobs", json=form, headers={"Idempotency-Key": "k2"}), 409, "key_in_use")
        assert job in error["message"]
    for key in ("", "k" * 101, "käse".encode("latin-1")):
        refused(server.client.post("/v1/jobs", json=water(), headers={"Idempotency-Key": key}), 400, "bad_header")


def test_one_job_results_from_many_who_send_one_key_at_once(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: server.submit(water(), **{"Idempotency-Key": "k3"}), range(16)))
    assert len(ids) == 1


def test_a_request_larger_than_the_limit_is_refused_with_and_without_a_length(place: Home) -> None:
    with served(place, QMRUNNER_API_MAX_BODY_MIB="1") as server:
        before = server.jobs()
        big = json.dumps({"kind": "xtb", "files": [{"name": "w.xyz", "text": WATER + " " * 2**20}]}).encode()
        headers = {"content-type": "application/json"}
        refused(server.client.post("/v1/jobs", content=big, headers=headers), 413, "body_too_large")
        pieces = (big[i : i + 1000] for i in range(0, len(big), 1000))
        refused(server.client.post("/v1/jobs", content=pieces, headers=headers), 413, "body_too_large")
        assert server.jobs() == before


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def test_input_that_crashes_or_never_ends_costs_a_child_and_not_the_server(tmp_path: Path) -> None:
    numbers = iter(range(100))

    def check(**more: Any) -> str:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "body").write_text(json.dumps({**XTB, **more}))
        asked = {
            "content_type": "application/json",
            "max_atoms": None,
            "crest_installed": False,
            "strict": False,
            "confinement": policy.order(interpreter.reach(), folder, Settings(home=tmp_path)),
        }
        return children.check_now(folder, asked)[0].kind

    def parent() -> int:
        (found,) = [
            pid for pid in process_tree.children_of(os.getpid())
            if b"qmrunner.api.upload.sandbox_worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ]  # fmt: skip
        return found

    def working() -> int | None:
        """The child that has begun, if there is one."""
        return next((one._pid for one in list(children._working)), None)

    slow = {"kind": "nmr", "smiles": "C" * 9999, "max_atoms": 100_000, "files": []}
    children = Children()
    try:
        assert check() == "xtb"
        with ThreadPoolExecutor(1) as beside:
            for number in (signal.SIGSEGV, signal.SIGKILL, signal.SIGXCPU):
                wait_for(lambda: not process_tree.children_of(parent()), 30.0, "the end of the child before")
                sent = beside.submit(check, **slow)
                child = wait_for(working, 30.0, "the child")
                if policy.kernel().abi is not None:
                    wait_for(lambda child=child: "NoNewPrivs:\t1" in _status(child), 30.0, "its confinement")  # type: ignore[misc]
                os.kill(child, number)
                with pytest.raises(UsageError) as caught:
                    sent.result(30.0)
                assert caught.value.code == "input_crashed"
        children.seconds = 0.5
        with pytest.raises(UsageError) as caught:
            check(**slow)
        assert caught.value.code == "input_too_slow"
        wait_for(lambda: not process_tree.children_of(parent()), 5.0, "the end of the slow child")
        children.seconds = 60.0
        os.kill(parent(), signal.SIGKILL)
        wait_for(lambda: children._parent is not None and children._parent.ended, 5.0, "the end of the parent")
        assert check() == "xtb"
        with ThreadPoolExecutor(1) as beside:
            sent = beside.submit(check, **slow)
            wait_for(working, 30.0, "the child")
            children.close()
            assert isinstance(sent.exception(5.0), UsageError | NotReadyError)
    finally:
        children.close()
    with pytest.raises(ValueError, match="unpack"):
        parent()
