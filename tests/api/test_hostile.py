"""A hostile deck, flags of programs or an archive over HTTP gets nothing, and leaves nothing."""

from __future__ import annotations

import io
import tarfile
from functools import cache
from typing import Any

import pytest

from tests.api.lab import WATER, XTB, Server, refused
from tests.engines.hostile import ACTS, HEAD

HOSTILE = {name: text.replace("{out}", "/srv/others") for name, text in ACTS.items()}
CALLS = {
    "a program for energies": {**XTB, "args": ["--driver", "id"]},
    "a name for the xtb program": {**XTB, "kind": "crest", "args": ["-xnam", "id"]},
    "a line for a shell": {**XTB, "kind": "crest", "args": ["--alpb", "h2o; id"]},
    "instructions for a program": {
        "kind": "xtb",
        "files": [{"name": "w.xyz", "text": WATER}, {"name": "xtb.inp", "text": "$external\n orca bin=/bin/sh\n"}],
    },
}


@cache  # a compressed archive has the second in which it was made
def archive() -> bytes:
    """A tar file that would put a link and a file outside, if it were unpacked."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        link = tarfile.TarInfo("deck.nw")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("../../escaped"))
    return made.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_deck_is_refused_over_http(server: Server, name: str) -> None:
    form = {"kind": "nwchem", "files": [{"name": "deck.nw", "text": HOSTILE[name]}]}
    # One hides behind a memory line that NWChem itself could not read.
    code = "memory_spec_invalid" if "behind memory" in name else "deck_escapes"
    error = refused(server.client.post("/v1/jobs", json=form), 422, code)
    assert ("line 2: memory" if "behind memory" in name else "deck.nw line ") in error["evidence"]
    assert server.jobs() == []


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_another_program_is_refused_over_http(server: Server, name: str) -> None:
    refused(server.client.post("/v1/jobs", json=CALLS[name]), 422, "deck_escapes")
    assert server.jobs() == []


def test_a_stranger_cannot_ask_to_be_unconfined(server: Server) -> None:
    form: dict[str, Any] = {"kind": "nwchem", "files": [{"name": "deck.nw", "text": HOSTILE["a shell task"]}]}
    refused(server.client.post("/v1/jobs", json={**form, "unconfined": True}), 422, "invalid_request")
    assert server.jobs() == []


def test_an_archive_is_no_deck_and_is_unpacked_nowhere(server: Server) -> None:
    made = archive()  # once: it holds the second in which it was made
    alone = [("file", ("deck.tar.gz", made))]
    answer = server.client.post("/v1/jobs", data={"job": '{"kind": "nwchem"}'}, files=alone)
    refused(answer, 422, "unreadable_file")
    beside = [("file", ("deck.nw", (HEAD + "task scf\n").encode())), ("file", ("more.tar.gz", made))]
    answer = server.client.post("/v1/jobs", data={"job": '{"kind": "nwchem"}'}, files=beside)
    assert answer.status_code == 201, answer.text
    folder = server.home.settings.jobs_root / answer.json()["id"] / "input"
    assert sorted(path.name for path in folder.iterdir()) == ["deck.nw", "more.tar.gz"]
    assert (folder / "more.tar.gz").read_bytes() == made
