"""One job, three readers: command line, Python client and page have the same numbers, for each kind of job."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest

from qmrunner.client import Client, Job
from tests.api.lab import served
from tests.support import Daemon, Home

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]
WATER = "3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
DECK = (
    "start w\ngeometry units angstrom\n O 0 0 0.117\n H 0 0.757 -0.471\n H 0 -0.757 -0.471\nend\n"
    "basis\n * library sto-3g\nend\n"
)
QCSCHEMA = {
    "molecule": {"symbols": ["O", "H", "H"], "geometry": [0, 0, 0.22, 0, 1.43, -0.89, 0, -1.43, -0.89]},
    "model": {"method": "GFN2-xTB"}, "driver": "gradient",
}  # fmt: skip
JOBS: dict[str, Callable[[Client], Job]] = {
    "conformers": lambda client: client.submit_search("CCO", conformers="rdkit"),
    "one atom": lambda client: client.submit_search("[He]", conformers="rdkit"),
    "energy of xTB": lambda client: client.submit_xtb(WATER),
    "vibrations of xTB": lambda client: client.submit_xtb(WATER, ["--ohess"]),
    "ionisation": lambda client: client.submit_xtb(WATER, ["--vipea"]),
    "Fukui indices": lambda client: client.submit_xtb(WATER, ["--vfukui"]),
    "QCSchema": lambda client: client.submit_qcschema(QCSCHEMA),
}
DECKS: dict[str, Callable[[Client], Job]] = {
    "shieldings": lambda client: client.submit_deck(f"{DECK}property\n shielding\nend\ntask scf property\n"),
    "optimisation": lambda client: client.submit_deck(f"{DECK}task scf optimize\n"),
    "two tasks": lambda client: client.submit_deck(f"{DECK}task scf energy\ntask scf gradient\n"),
    "NMR": lambda client: client.submit_nmr("C", level="quick"),
}


def _text(cell: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", cell)).strip()


def page_rows(page: str, tables: str) -> list[list[str]]:
    """The words of each row of the tables of a class."""
    found = re.findall(rf'<table class="{tables}".*?</table>', page, re.DOTALL)
    rows = [row for table in found for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [" ".join(map(_text, row)).split() for row in cells]


def compare(kinds: dict[str, Callable[[Client], Job]], home: Home, daemon: Callable[..., Daemon]) -> None:
    daemon(QMRUNNER_CORES="1")  # beside other tests: ranks spin while they wait for each other
    with served(home) as server, Client(server.url) as client:
        jobs = {kind: submit(client) for kind, submit in kinds.items()}
        for kind, job in jobs.items():
            assert job.wait(timeout=400).state == "succeeded", kind
            printed = home.json("result", job.id)
            del printed["folder"]
            assert job.result.data == printed, kind
            assert job.result.energy_hartree == printed["energy_hartree"], kind
            page = server.client.get(f"/jobs/{job.id}/result", headers={"Accept": "text/html"}).text
            assert f"{printed['energy_hartree']:.6f}".replace("-", "\N{MINUS SIGN}") in page, kind
            lines = [line.split() for line in home.run("result", job.id).stdout.splitlines()]
            rows = page_rows(page, "quantities")
            assert bool(rows) == (job.kind not in ("nmr", "conformers")), kind
            assert [row for row in rows if row not in lines] == [], kind
            # Nothing is printed that the page leaves out: from the first table to the single values below them.
            if rows:
                first, last = lines.index(rows[0]), len(lines) - 1 - lines[::-1].index(rows[-1])
                titles = {_text(title) for title in re.findall(r"<h2>(.*?)</h2>", page)}
                left = [line for line in lines[first : last + 1] if line and line not in rows]
                assert [line for line in left if " ".join(line) not in titles] == [], kind
            for row in printed["conformers"]:
                assert f"{row['weight']:.3f}" in page, kind


def test_runs_of_xtb_have_the_same_numbers_for_every_reader(home: Home, daemon: Callable[..., Daemon]) -> None:
    compare(JOBS, home, daemon)


@pytest.mark.slow
def test_runs_of_nwchem_have_the_same_numbers_for_every_reader(home: Home, daemon: Callable[..., Daemon]) -> None:
    compare(DECKS, home, daemon)
