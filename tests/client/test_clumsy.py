"""What a person passes by mistake: each ends in an error or warning that names the mistake, and nothing is sent."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import httpx
import numpy
import pandas
import pytest

from qmrunner.client import Client, JobList, table
from qmrunner.client.described import Comparison
from qmrunner.client.forms import molecule
from qmrunner.client.options import CommonOptions, NmrOptions, checked
from qmrunner.errors import QmrunnerError, UsageError
from tests.client.test_hostile import JOB, client

ACETONE = {"name": "acetone", "smiles": "CC(C)=O"}


def lines(molecules: Any, names: Any = None, kind: str = "nmr", **fields: Any) -> list[table.Line]:
    return table.lines(molecules, names, kind, fields, "g")


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"charge": numpy.int64(1)}, 1),
        ({"charge": 1.0}, 1),
        ({"charge": numpy.float64(-1.0)}, -1),
        ({"temperature_k": numpy.float32(300.0)}, 300.0),
        ({"temperature_k": 300}, 300),
        ({"fresh": numpy.bool_(True)}, True),
        ({"name": 12}, "12"),
        ({"name": numpy.int64(12)}, "12"),
        ({"require": "gpu"}, ["gpu"]),
        ({"require": ("gpu", "big")}, ["gpu", "big"]),
    ],
)
def test_values_that_mean_one_thing_are_accepted(given: dict[str, Any], value: Any) -> None:
    found = checked(given, NmrOptions)
    assert list(found.values()) == [value]
    assert type(next(iter(found.values()))) is type(value)


@pytest.mark.parametrize(
    "given",
    [
        {"charge": 0.5}, {"charge": "1"}, {"charge": True}, {"charge": float("nan")}, {"charge": [1]},
        {"temperature_k": "298 K"}, {"temperature_k": float("nan")}, {"temperature_k": float("inf")},
        {"temperature_k": True}, {"fresh": 1}, {"fresh": "yes"}, {"level": 3}, {"level": ["quick"]},
        {"name": float("nan")}, {"name": b"x"}, {"priority": "high"}, {"require": [1]}, {"require": {"gpu": 1}},
        {"solvent": numpy.array(["water"])},
    ],
)  # fmt: skip
def test_other_values_are_refused_with_the_option_and_its_type(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(UsageError) as caught:
        checked(given, NmrOptions)
    assert caught.value.code == "bad_option"
    assert name in caught.value.message
    assert caught.value.remedy


def test_none_means_the_default_and_a_short_name_is_explained() -> None:
    assert checked({"level": None, "group": None, "charge": None}, NmrOptions) == {}
    for wrong, right in (("mult", "multiplicity"), ("temperature", "temperature_k"), ("solvant", "solvent")):
        with pytest.raises(UsageError, match=f"did you mean {right}"):
            checked({wrong: 1}, NmrOptions)
    with pytest.raises(UsageError, match="no option level"):
        checked({"level": "quick"}, CommonOptions)


@pytest.mark.parametrize(
    "wrong",
    ["CCO", "molecules.csv", Path("molecules.csv"), b"CCO", {"a": "CCO"}, None, 7, 3.5],
)
def test_one_molecule_is_no_list_of_its_letters(wrong: Any) -> None:
    with pytest.raises(UsageError) as caught:
        lines(wrong)
    assert caught.value.code == "not_a_list"


def test_a_molecule_object_is_no_list_of_its_atoms() -> None:
    from ase.build import molecule as built
    from rdkit import Chem

    for wrong in (Chem.MolFromSmiles("CCO"), built("H2O")):
        with pytest.raises(UsageError, match="submit_nmr"):
            lines(wrong)


def test_lists_of_every_kind_are_the_same() -> None:
    smiles = ["CCO", "CCN"]
    expected = lines(smiles)
    given: list[Any] = [
        tuple(smiles), iter(smiles), pandas.Series(smiles), numpy.array(smiles), pandas.DataFrame({"smiles": smiles}),
        pandas.DataFrame({" SMILES ": smiles}), [{"smiles": one} for one in smiles],
        [{"molecule": one} for one in smiles],
    ]  # fmt: skip
    for molecules in given:
        assert lines(molecules) == expected
    assert lines([]) == lines(pandas.DataFrame()) == lines(pandas.DataFrame({"smiles": []})) == []


def test_an_entry_that_is_no_molecule_refuses_itself_only() -> None:
    found = lines(["CCO", 7, None, float("nan"), {"smiles": "CC", "charge": 0.5}, b"CC"])
    codes = [line.code if isinstance(line, UsageError) else line.get("smiles") for line in found]
    assert codes == ["CCO", "bad_molecule", "", "", "bad_option", "bad_molecule"]


def test_a_column_of_whole_numbers_with_gaps_is_one_of_floats_and_still_accepted() -> None:
    rows = pandas.DataFrame({"smiles": ["CC(=O)[O-]", "CCO"], "charge": [-1, None], "name": [7, 8]})
    first, second = lines(rows)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["charge"], first["name"], "charge" in second) == (-1, "7", False)


def test_a_table_without_smiles_names_its_columns() -> None:
    with pytest.raises(UsageError) as caught:
        lines(pandas.DataFrame([{"Compound": "acetone", "Structure": "CC(C)=O"}]))
    assert caught.value.code == "no_molecules"
    assert "compound, structure" in str(caught.value)


def test_a_misspelled_option_is_an_error_and_an_unknown_column_a_warning() -> None:
    with pytest.raises(UsageError, match="rename the column to charge"):
        lines([ACETONE | {"chrage": 1}])
    with pytest.warns(UserWarning, match="not used: measured_ppm, nucleus"):
        found = lines([ACETONE | {"measured_ppm": 1.0, "nucleus": "13C"}])
    assert found == lines([ACETONE])
    usual = (
        "id no cas formula mw inchi inchikey yield atom atoms nucleus shift measured error comment source romol notes"
    )
    with pytest.warns(UserWarning, match="not used"):
        assert lines([ACETONE | dict.fromkeys(usual.split(), "x")]) == lines([ACETONE])


def test_different_molecules_of_one_name_are_a_warning_and_copies_are_none() -> None:
    with pytest.warns(UserWarning, match="one name: acetone"):
        lines([ACETONE, ACETONE | {"smiles": "CCO"}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines([ACETONE, ACETONE, {"smiles": "CCO"}, {"smiles": "CCN"}])


def test_names_and_kind_are_checked() -> None:
    with pytest.raises(UsageError, match="2 names for 1 molecules"):
        lines(["CCO"], ["a", "b"])
    with pytest.raises(UsageError, match="known are nmr, conformers"):
        lines(["CCO"], kind="xtb")


@pytest.mark.parametrize("where", ["localhost:8642", "qm.example.org", "10.0.0.7:80", "127.0.0.1:8642"])
def test_an_address_without_https_makes_no_folder(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"https://{where}"):
        Client(where)
    assert list(tmp_path.iterdir()) == []


def test_a_token_without_an_address_and_a_port_alone_are_refused() -> None:
    for make in (lambda: Client(token="qmr_x"), lambda: Client("/data", token="qmr_x"), lambda: Client(8642)):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"https://qm\.example\.org"):
            make()


def test_a_new_home_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="a new home is made there"):
        Client(tmp_path / "wrong-name").close()


def test_a_job_cannot_travel_to_another_process_and_its_error_names_the_way() -> None:
    with client(lambda _: httpx.Response(200, json={"job": JOB})) as made:
        job = made.job("abc")
        for act in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match=r"client\.job"):
                act(job)
        assert job == made.job("abc")
        assert len({job, made.job("abc")}) == 1
        assert job != "abc"


def test_a_fork_of_the_process_may_not_use_its_connections() -> None:
    with client(lambda _: httpx.Response(200, json={"job": JOB})) as made:
        made.job("abc")
        child = os.fork()
        if child == 0:
            try:
                made.job("abc")
            except UsageError as problem:
                os._exit(7 if problem.code == "client_forked" else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert made.job("abc").id == "abc"


def test_parts_of_a_list_are_lists_and_one_job_can_be_waited_for() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        rows = [JOB | {"id": name} for name in ("a", "b", "c")]
        body = {"jobs": rows, "next": None} if request.url.path == "/v1/jobs" else {"job": JOB}
        return httpx.Response(200, json=body)

    with client(answer) as made:
        jobs = made.jobs()
        assert isinstance(jobs[:2], JobList)
        assert [job.id for job in jobs[1:].wait()] == ["b", "c"]
        assert [job.id for job in made.wait(jobs[0])] == ["a"]
        for wrong in ("abc", ["abc"], None, 7):
            with pytest.raises(UsageError) as caught:
                made.wait(wrong)  # type: ignore[arg-type]
            assert caught.value.code == "not_jobs"
        for limit in (0, -1):
            with pytest.raises(UsageError, match="above 0"):
                made.jobs(limit=limit)
        with pytest.raises(UsageError, match="no id"):
            made.job(None)  # type: ignore[arg-type]


def test_flags_and_files_may_not_be_taken_letter_by_letter(tmp_path: Path) -> None:
    (tmp_path / "h2.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    (tmp_path / "more.txt").write_text("text")
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        return httpx.Response(200, json={"id": "abc", "job": JOB})

    with client(answer) as made:
        with pytest.raises(UsageError, match=r"\['--opt', 'tight'\]"):
            made.submit_xtb(tmp_path / "h2.xyz", "--opt tight")
        assert sent == []
        made.submit_xtb(tmp_path / "h2.xyz", ["--opt"], str(tmp_path / "more.txt"))
        assert b'filename="more.txt"' in sent[0]
        with pytest.raises(UsageError, match="is a folder"):
            made.submit_nmr(tmp_path)


def test_shifts_of_no_job_have_their_columns() -> None:
    with client(lambda _: httpx.Response(200, json={"jobs": [], "next": None})) as made:
        found = made.jobs().shifts()
    assert len(found) == 0
    measured = pandas.DataFrame({"name": ["a"], "nucleus": ["13C"], "atom": [1]})
    assert len(found.merge(measured, on=["name", "nucleus", "atom"])) == 0


def test_a_notebook_shows_a_job_whose_result_cannot_be_read() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/result"):
            return httpx.Response(404, json={"error": {"code": "file_unknown", "message": "gone"}})
        return httpx.Response(200, json={"job": JOB})

    with client(answer) as made:
        assert "abc" in made.job("abc")._repr_html_()


def test_a_comparison_is_also_a_table() -> None:
    signal = {"atoms": [2], "label": "C2", "shift_ppm": 111.9, "measured_ppm": 116.3, "difference_ppm": -4.4}
    found = Comparison({"jobs": [{"comparisons": [{"nucleus": "13C", "signals": [signal]}]}]})
    assert found.frame[["nucleus", "label", "measured_ppm"]].to_numpy().tolist() == [["13C", "C2", 116.3]]
    assert "C2" in found._repr_html_()
    assert len(Comparison({"jobs": []}).frame) == 0


H2 = "2\n{}\nH 0 0 0\nH 0 0 0.74\n"
TEXTS = {
    ".xyz": H2.format("hydrogen"),
    ".extxyz": H2.format('Properties=species:S:1:pos:R:3 pbc="F F F"'),
    ".mol": "\n  x\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 O   0  0\nM  END\n",
    ".pdb": "HEADER    x\nATOM      1  O   MOL     1       0.000   0.000   0.117  1.00  0.00           O  \nEND\n",
    ".cml": '<?xml version="1.0"?>\n<cml xmlns="x"><molecule id="m"><atomArray/></molecule></cml>\n',
    ".coord": "$coord\n 0 0 0 o\n$end\n",
    ".json": '{\n "symbols": ["H", "H"], "geometry": [0, 0, 0, 0, 0, 1.4]}\n',
    ".gjf": "%mem=1GB\n%chk=x\n#p hf\n\ntitle\n\n0 1\nO 0.0 0.0 0.0\n\n",
    ".inchi": "InChI=1S/H2O/h1H2\n",
}
TEXTS[".sdf"] = TEXTS[".mol"] + "$$$$\n"


@pytest.mark.parametrize("ending", TEXTS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_text_is_named_by_its_content(ending: str, ends: str) -> None:
    ((name, data),) = molecule(TEXTS[ending].replace("\n", ends))[1]
    assert (name, data.decode()) == (f"molecule{ending}", TEXTS[ending].replace("\n", ends))


def test_the_first_refusal_is_whole(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        error = {"code": "invalid_smiles", "message": "no SMILES", "evidence": "around 1: XX", "remedy": "check it"}
        return httpx.Response(200, content=b'{"line": 1, "error": %s}\n' % httpx.Response(200, json=error).content)

    with client(answer) as made, pytest.raises(QmrunnerError) as caught:
        made.submit_many(["XX"])
    assert "around 1: XX" in str(caught.value)
    assert "check it" in str(caught.value)
