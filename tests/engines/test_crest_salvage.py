"""What a killed search completed is sorted instead of searched for again, and its result names what it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qmrunner.engines.base import Context, Installed
from qmrunner.engines.crest import salvage
from qmrunner.engines.crest.engine import Crest
from qmrunner.model.jobs import Command, Exit, Grant, Outcome, Step
from tests.engines.support import FIXTURES, step

BUTANOL = FIXTURES / "crest" / "butanol"
CREST = Installed("crest", "/opt/bin/crest", "3.0.2", {"native": True, "xtb": None})
ATOMS = [line.split()[0] for line in (BUTANOL / "butanol.xyz").read_text().splitlines()[2:]]
NORMAL = "number of unique conformers for further calc {count:12d}\n CREST terminated normally.\n"


def structures(*numbers: int) -> str:
    """Structures of the recorded conformers, by number from 0."""
    lines = (BUTANOL / "crest_conformers.xyz").read_text().splitlines(keepends=True)
    return "".join("".join(lines[17 * number : 17 * number + 17]) for number in numbers)


def fill(place: Path, *iterations: str, **more: str) -> Path:
    """The directory of a search killed after `iterations`; `more` are files, with `_` for the dot before xyz."""
    place.mkdir(exist_ok=True)
    for number, text in enumerate(iterations):
        (place / f".cre_{number}.xyz").write_text(text)
        (place / f"cregen_{number}.tmp").write_text("sorted\n")
    for name, text in more.items():
        (place / f"{name}.xyz").write_text(text)
    return place


def search(**params: object) -> Step:
    return step("crest", "conformers", **{"atoms": ATOMS, "alpb": "chcl3", "energy_window_kcal": 6.0, **params})


def next_attempt(tmp_path: Path, previous: Path | None, asked: Step | None = None) -> Command:
    directory = tmp_path / "next"
    directory.mkdir(exist_ok=True)
    inputs = {"geometry": BUTANOL / "butanol.xyz", "butanol.xyz": BUTANOL / "butanol.xyz"}
    return Crest().prepare(asked or search(), Context(directory, inputs, Grant(2, 512, 64, 0), CREST, previous))


def searched_from_the_beginning(command: Command) -> bool:
    return (
        "--cregen" not in command.argv
        and not command.files
        and "searched from the beginning" in " ".join(command.notes)
    )


def salvaging(tmp_path: Path, log: str = NORMAL.format(count=2), *, code: int = 0, **files: str) -> Outcome:
    """The outcome of a salvage of structures 0, 4 and 8 that printed `log` and left `files`."""
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / salvage.INPUT).write_text(structures(0, 4, 8))
    (directory / salvage.MARKER).write_text(salvage.Marker(1, 3).text())
    for name, text in files.items():
        (directory / f"{name}.xyz").write_text(text)
    (tmp_path / "log").write_text(log)
    return Crest().interpret(search(), directory, tmp_path / "log", Exit(code))


def test_all_completed_iterations_are_sorted_together_by_the_same_method(tmp_path: Path) -> None:
    previous = fill(tmp_path / "killed", structures(0, 4), structures(1), crest_rotamers_1=structures(8))
    command = next_attempt(tmp_path, previous)
    head = f"/opt/bin/crest start.xyz --cregen {salvage.INPUT} --gfn2 --alpb chcl3 --ewin 6.0 -T 2"
    assert command.argv == tuple(head.split())
    assert command.files[salvage.INPUT] == structures(0, 4, 1)
    assert "its 2 metadynamics iterations completed by then (3 structures)" in " ".join(command.notes)


def test_the_iteration_under_way_is_left_out_for_it_is_optimised_only_crudely(tmp_path: Path) -> None:
    previous = fill(tmp_path / "killed", crest_rotamers_1=structures(0, 4), crest_conformers=structures(0))
    assert Crest().checkpoint(previous) == ()


def test_the_recorded_killed_search_had_completed_nothing(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "crest/failures/sigkill-partial-results", tmp_path / "killed")
    assert Crest().checkpoint(tmp_path / "killed") == ()


def test_after_the_last_iteration_the_merged_ensemble_counts(tmp_path: Path) -> None:
    previous = fill(
        tmp_path / "killed", "", "", crest_rotamers_1=structures(0, 1), crest_rotamers_2=structures(0, 4, 8)
    )
    for number in (0, 1):
        (previous / f".cre_{number}.xyz").unlink()
    checkpoint = Crest().checkpoint(previous)
    assert checkpoint == ("crest_rotamers_2.xyz", "cregen_0.tmp", "cregen_1.tmp")
    carried = tmp_path / "carried"  # what another machine gets
    carried.mkdir()
    for name in checkpoint:
        shutil.copyfile(previous / name, carried / name)
    for place in (previous, carried):
        assert "its 2 metadynamics iterations" in " ".join(next_attempt(tmp_path, place).notes)


def test_snapshots_of_dynamics_at_the_end_of_the_merged_ensemble_are_not_taken_for_conformers(tmp_path: Path) -> None:
    previous = fill(tmp_path / "killed", "", crest_rotamers_1=structures(0, 8, 4), crest_conformers=structures(0, 8))
    (previous / ".cre_0.xyz").unlink()
    assert Crest().checkpoint(previous) == ("crest_conformers.xyz", "cregen_0.tmp")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_an_iteration_that_a_kill_cut_is_left_out(share: float, tmp_path: Path) -> None:
    cut = structures(1, 2)[: int(len(structures(1, 2)) * share)]
    previous = fill(tmp_path / "killed", structures(0, 4), cut)
    assert Crest().checkpoint(previous) == (".cre_0.xyz",)
    assert "its 1 metadynamics iteration " in " ".join(next_attempt(tmp_path, previous).notes)


def test_ensembles_of_other_atoms_are_not_mixed_in_and_not_used(tmp_path: Path) -> None:
    other = structures(0).replace("O ", "S ", 1)
    assert Crest().checkpoint(fill(tmp_path / "mixed", structures(0), other)) == (".cre_0.xyz",)
    assert searched_from_the_beginning(next_attempt(tmp_path, fill(tmp_path / "other", other)))


def test_without_a_completed_iteration_the_next_attempt_searches_from_the_beginning_with_a_note(tmp_path: Path) -> None:
    assert searched_from_the_beginning(next_attempt(tmp_path, None))


@pytest.mark.parametrize(
    ("args", "salvaged"),
    [(["--quick"], True), (["--gfnff", "--v3"], True), (["--mdopt", "x.xyz"], False), (["-entropy"], False)],
)
def test_a_run_of_ones_own_is_salvaged_when_it_is_a_search(args: list[str], salvaged: bool, tmp_path: Path) -> None:
    previous = fill(tmp_path / "killed", structures(0, 4))
    command = next_attempt(tmp_path, previous, step("crest", "user", structure="butanol.xyz", args=args))
    assert ("--cregen" in command.argv) is salvaged
    assert set(args) <= set(command.argv)


@pytest.mark.parametrize("name", ["crest_conformers", "crest_ensemble", f"{salvage.INPUT}.sorted"])
def test_the_ensemble_is_taken_from_whichever_file_is_whole_and_marked_as_partial(name: str, tmp_path: Path) -> None:
    directory = tmp_path / "work"
    got = salvaging(tmp_path, crest_rotamers=structures(0))
    assert (got.state, got.code, got.failure_class) == ("failed", "truncated_output", "transient")
    (directory / salvage.MARKER).write_text(salvage.Marker(1, 3).text())
    (directory / (name if name.endswith("sorted") else f"{name}.xyz")).write_text(structures(0, 8))
    got = Crest().interpret(search(), directory, tmp_path / "log", Exit(0))
    assert got.state == "succeeded", got
    assert got.result["partial"] is True
    assert "1 metadynamics iteration completed" in got.result["notes"][0]
    assert "submit the job again" in got.result["notes"][1]
    assert [len(got.result["conformers"]), got.summary] == [2, "partial ensemble"]
    assert {"crest_conformers.xyz", "crest_best.xyz"} <= set(got.publish)
    assert (directory / "crest_conformers.xyz").read_text() == structures(0, 8)
    assert (directory / "crest_best.xyz").read_text() == structures(0)


def test_a_file_with_fewer_conformers_than_the_log_states_is_passed_over(tmp_path: Path) -> None:
    got = salvaging(tmp_path, crest_conformers=structures(0), crest_ensemble=structures(0, 8))
    assert len(got.result["conformers"]) == 2


def test_an_energy_that_no_sorted_structure_has_is_no_success(tmp_path: Path) -> None:
    invented = structures(0).replace("-17.731", "-0.731")
    got = salvaging(tmp_path, NORMAL.format(count=1), crest_ensemble=invented)
    assert (got.state, got.code) == ("failed", "truncated_output")


@pytest.mark.parametrize(("log", "code"), [("CREST terminated with errors\n", 1), ("nothing\n", 0), (NORMAL, 0)])
def test_after_a_failed_salvage_the_next_attempt_searches_from_the_beginning(
    log: str, code: int, tmp_path: Path
) -> None:
    got = salvaging(tmp_path, log, code=code)
    assert (got.state, got.failure_class) == ("failed", "transient")
    assert "from the beginning" in str(got.remedy)
    assert Crest().checkpoint(tmp_path / "work") == (salvage.MARKER, salvage.INPUT)
    assert searched_from_the_beginning(next_attempt(tmp_path, tmp_path / "work"))


def test_a_salvage_that_was_itself_killed_is_tried_once_more_and_then_never_again(tmp_path: Path) -> None:
    previous = fill(tmp_path / "killed", structures(0, 4))
    seen = []
    for number in range(4):
        command = next_attempt(tmp_path, previous)
        seen.append("--cregen" in command.argv)
        previous = tmp_path / f"killed-{number}"
        previous.mkdir()
        for name, text in command.files.items():
            (previous / name).write_text(text)
        if not command.files:
            break
    assert seen == [True, True, False]


def test_a_stopped_salvage_is_no_failure(tmp_path: Path) -> None:
    salvaging(tmp_path)
    (tmp_path / "work" / salvage.MARKER).write_text(salvage.Marker(1, 3).text())
    got = Crest().interpret(search(), tmp_path / "work", tmp_path / "log", Exit(None, 15, stop_reason="drain"))
    assert got.state == "stopped"
    marker = salvage.read_marker(tmp_path / "work")
    assert marker is not None
    assert not marker.spent


def test_what_a_merged_search_lacks_is_not_reported_to_be_its_crossing() -> None:
    before, merged = salvage.Marker(2, 9), salvage.Marker(2, 9, merged=True)
    assert "further iterations, crossing, final optimisation" in before.sentence
    assert "the final optimisation, and the crossing where it was not done by then, is missing" in merged.sentence
