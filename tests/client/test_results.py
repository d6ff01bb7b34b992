"""What a client makes of results: the numbers of the command line and of the page, tables, molecules, pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmrunner.client import (
    AsyncClient,
    Client,
    JobEndedError,
    NotFoundError,
    NotReadyError,
    NoWorkerWarning,
    SomeRefusedError,
    UsageError,
)
from tests.api.lab import Server, served
from tests.client.lab import WATER
from tests.finished import ETHANOL, finish
from tests.support import Home

ENERGIES = (-154.9, -154.9012, -154.8986)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(
        tmp_path_factory.mktemp("client") / "home",
        {"QMRUNNER_XTB": "/bin/true", "QMRUNNER_NWCHEM": "/bin/true", "QMRUNNER_API_RATE_PER_MINUTE": "100000"},
    )


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    with served(place) as running:
        yield running


@pytest.fixture(scope="module")
def local(place: Home) -> Iterator[Client]:
    """A client of the local home."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.environment().items():
            patch.setenv(name, value)
        with Client() as client:
            yield client


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def ethanol(remote: Client, place: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    job = remote.submit_nmr("CCO", name="<b>ethanol</b>")
    finish(place, job.id, "CCO", ETHANOL, tmp_path_factory.mktemp("e") / "run", energies=ENERGIES)
    return job.id


def rows_of_page(text: str) -> dict[tuple[int, ...], str]:
    """The shift of each row of the tables on the page, by its atoms."""
    found = {}
    for table in re.findall(r'<table role="table" class="shifts".*?</table>', text, re.DOTALL):
        for atoms, row in re.findall(r'<tr[^>]*data-atoms="([0-9 ]+)".*?>(.*?)</tr>', table, re.DOTALL):
            cells = [
                re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
            ]
            found[tuple(map(int, atoms.split()))] = next(cell for cell in cells if re.fullmatch(r"-?\d+\.\d+", cell))
    return found


def test_client_command_line_and_page_have_the_same_numbers(
    local: Client, remote: Client, server: Server, place: Home, ethanol: str
) -> None:
    printed = place.json("result", ethanol)
    for client in (local, remote):
        result = client.job(ethanol).result
        assert result.shifts.shift_ppm.tolist() == [row["shift_ppm"] for row in printed["shifts"]]
        assert result.shifts.shielding_ppm.tolist() == [row["shielding_ppm"] for row in printed["shifts"]]
        assert result.energy_hartree == printed["energy_hartree"] == min(ENERGIES)
        weights = {row["id"]: row["weight"] for row in printed["conformers"]}
        assert dict(zip(result.conformers.id, result.conformers.weight, strict=True)) == weights
        for row in printed["shifts"]:
            atom = result.mol.GetAtomWithIdx(row["atom"] - 1)
            assert (atom.GetSymbol(), atom.GetDoubleProp("shift_ppm")) == (row["symbol"], row["shift_ppm"])
        assert client.job(ethanol).data == remote.job(ethanol).data
        assert client.job(ethanol).why() == remote.job(ethanol).why()
    page = rows_of_page(server.client.get(f"/jobs/{ethanol}/result", headers={"Accept": "text/html"}).text)
    assert len(page) == 5
    for row in printed["shifts"]:
        digits = 1 if row["nucleus"] == "13C" else 2
        assert page[tuple(row["equivalent_atoms"])] == f"{row['shift_ppm']:.{digits}f}"


def test_a_result_has_the_structures_of_all_kept_conformers_the_lowest_first(remote: Client, ethanol: str) -> None:
    result = remote.job(ethanol).result
    assert list(result.geometries) == ["c2", "c1", "c3"] == result.conformers.id.tolist()
    assert [one.GetProp("id") for one in result.mol.GetConformers()] == ["c2", "c1", "c3"]
    assert result.atoms.get_chemical_formula() == "C2H6O"
    lowest = result.mol.GetConformer().GetPositions()
    assert lowest.tolist() == result.atoms.positions.tolist() == result.atoms_of("c2").positions.tolist()
    with pytest.raises(NotFoundError, match="c9 is not kept"):
        result.atoms_of("c9")
    with pytest.raises(NotFoundError) as none:
        _ = result.qcschema
    assert none.value.code == "no_qcschema"


def test_notebooks_show_structure_and_spectra_and_load_nothing(remote: Client, ethanol: str) -> None:
    for shown in (remote.job(ethanol)._repr_html_(), remote.job(ethanol).result._repr_html_()):
        assert shown.count('src="data:image/svg+xml;base64,') == 3
        assert "<script" not in shown
        assert "http" not in shown
        assert "C2" in shown
    assert "&lt;b&gt;ethanol&lt;/b&gt;" in remote.job(ethanol)._repr_html_()
    assert "<b>ethanol" not in remote.jobs()._repr_html_()


def test_jobs_are_found_with_the_language_of_the_pages(local: Client, remote: Client, ethanol: str) -> None:
    for client in (local, remote):
        assert [job.id for job in client.jobs("kind:nmr state:succeeded smiles:CCO")] == [ethanol]
    assert remote.jobs("state:succeeded").shifts().shift_ppm.tolist() == [
        *remote.job(ethanol).result.shifts.shift_ppm.tolist()
    ]
    first = remote.jobs(limit=1)
    assert len(first) == len(first.frame) == 1
    with pytest.raises(UsageError) as wrong:
        remote.jobs("stat:failed")
    assert wrong.value.code == "bad_query"
    assert "did you mean state" in (wrong.value.remedy or "")


def test_a_job_of_the_local_home_belongs_to_the_user_and_shares_keys_with_the_command_line(
    local: Client, place: Home, tmp_path: Path
) -> None:
    (tmp_path / "water.xyz").write_text(WATER.format("water"))
    job = local.submit_xtb(tmp_path / "water.xyz", ["--sp"], key="one")
    assert job.data["owner"] == place.job(job.id)["owner"] is not None
    command = place.run("submit", "xtb", str(tmp_path / "water.xyz"), "--key", "one", "--", "--sp")
    assert command.stdout.split() == [job.id]
    assert job.hold().state == "held"
    with pytest.raises(JobEndedError) as held:
        job.wait()
    assert (held.value.state, held.value.job_id) == ("held", job.id)
    assert job.release().state == "queued"
    with pytest.raises(UsageError) as wrong:
        job.retry()
    assert (wrong.value.code, bool(wrong.value.remedy)) == ("wrong_state", True)
    assert job.cancel().state == "cancelled"
    with pytest.raises(NotReadyError) as none:
        _ = job.result
    assert none.value.code == "no_result"
    assert job.file("input/water.xyz").decode() == WATER.format("water")
    assert [path.name for path in job.download(tmp_path / "out")] == [Path(name).name for name in job.files()]


def test_a_wait_without_a_worker_warns_and_a_time_limit_keeps_the_job(remote: Client) -> None:
    job = remote.submit_xtb(WATER.format("waits"))
    with pytest.warns(NoWorkerWarning, match="qmrunner run"), pytest.raises(NotReadyError) as late:
        job.wait(timeout=8.0)
    assert (late.value.code, job.refresh().state) == ("wait_timeout", "queued")


def test_many_are_kept_in_order_and_a_refused_one_stops_no_other(remote: Client) -> None:
    import pandas

    table = pandas.DataFrame({"smiles": ["CCO", "C1CC", "CCN"], "name": ["a", "b", "c"], "charge": [None, None, None]})
    with pytest.raises(SomeRefusedError) as some:
        remote.submit_many(table, group="batch")
    assert [(one.index, one.error.code) for one in some.value.refused] == [(1, "invalid_smiles")]
    jobs = remote.submit_many(table, group="batch", skip_refused=True)
    assert [job.id for job in jobs] == [job.id for job in some.value.jobs]
    assert [job.name for job in jobs] == ["a", "c"]
    assert len(remote.jobs("group:batch")) == 2


@pytest.mark.parametrize(
    ("act", "kind", "code"),
    [
        (lambda client: client.submit_nmr("C1CC"), UsageError, "invalid_smiles"),
        (lambda client: client.submit_nmr("CCO", solvent="chlorofrom"), UsageError, "unknown_solvent"),
        (lambda client: client.submit_nmr("CCO", solvant="water"), UsageError, "unknown_option"),
        (lambda client: client.submit_nmr("missing.xyz"), UsageError, "file_not_found"),
        (lambda client: client.submit_nmr(7), UsageError, "bad_molecule"),
        (lambda client: client.job("zzzzzzzz"), NotFoundError, "job_unknown"),
        (lambda client: client.job("../x"), UsageError, "bad_id"),
    ],
)
def test_errors_have_the_code_and_the_remedy_of_the_command_line(
    local: Client, remote: Client, act: Any, kind: type[Exception], code: str
) -> None:
    for client in (local, remote):
        with pytest.raises(kind) as problem:
            act(client)
        assert (problem.value.code, bool(problem.value.remedy)) == (code, True)  # type: ignore[attr-defined]


def test_a_token_is_sent_and_a_wrong_one_is_refused_at_once(server: Server, place: Home, ethanol: str) -> None:
    from qmrunner.app import App
    from qmrunner.store import tokens

    app = App(place.settings)
    with app.store.write() as connection:
        secret = tokens.add(connection, app.store.now(), "reader", "read")
    try:
        with Client(server.url, token=secret) as client:
            assert client.jobs()
            with pytest.raises(UsageError) as small:
                client.submit_nmr("CCO")
        assert small.value.code == "scope_too_small"
        with Client(server.url, token="wrong") as client, pytest.raises(UsageError) as refused:
            client.jobs()
        assert refused.value.code == "token_refused"
        with Client(place.path) as client:  # the folder of a home: its user needs no token
            assert client.jobs()
    finally:
        with app.store.write() as connection:
            tokens.revoke(connection, app.store.now(), "reader")
        app.close()


def test_a_server_that_is_not_there_is_an_error_after_the_patience() -> None:
    with Client("http://127.0.0.1:9", patience=0.5) as client, pytest.raises(NotReadyError) as problem:
        client.jobs()
    assert problem.value.code == "server_unreachable"
    with pytest.raises(UsageError) as wrong:
        Client("ftp://example.org")
    assert wrong.value.code == "bad_address"


def test_the_server_of_a_local_client_ends_with_it_and_starts_again_if_it_is_killed(place: Home, ethanol: str) -> None:
    client = Client(place.path)
    client.jobs()
    local = client._own._session.wire._local  # type: ignore[attr-defined]
    process, folder = local._held[0], local._folder
    process.kill()
    process.wait()
    assert client.jobs()
    again = local._held[0]
    assert again.pid != process.pid
    client.close()
    assert again.poll() is not None
    assert not folder.exists()
    with pytest.raises(NotReadyError) as closed:
        client.jobs()
    assert closed.value.code == "client_closed"


def test_a_home_that_cannot_be_opened_is_an_error_with_the_server_s_own_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Client(tmp_path / "file") as client, pytest.raises(NotReadyError) as problem:
        client.jobs()
    assert problem.value.code == "local_server_failed"
    assert "qmrunner:" in (problem.value.evidence or "")


def test_the_async_client_has_the_same_answers(server: Server, remote: Client, ethanol: str) -> None:
    import asyncio

    async def ask() -> tuple[Any, list[str], Any]:
        async with AsyncClient(server.url) as client:
            job = await client.job(ethanol)
            result = await job.result
            names = [event.name async for event in job.events()]
            return result.data, names, (await client.jobs("smiles:CCO state:succeeded")).frame.id.tolist()

    data, names, ids = asyncio.run(ask())
    assert data == remote.job(ethanol).result.data
    assert names[0] == "job_accepted"
    assert ids == [ethanol]
