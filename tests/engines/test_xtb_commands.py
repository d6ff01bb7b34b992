"""What xTB and CREST are started with, and the error on a machine without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.base import Context, Engine, Installed
from qmrunner.engines.crest.engine import Crest
from qmrunner.engines.openmp import stack_mib
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.model.jobs import Command, Grant
from tests.engines.support import step

WATER = "3\nwater\nO 0.0 0.0 0.117\nH 0.0 0.757 -0.469\nH 0.0 -0.757 -0.469\n"
XTB = Installed("xtb", "/opt/bin/xtb", "6.5.1", {"parameters": "/opt/share/xtb"})
CREST_3 = Installed("crest", "/opt/bin/crest", "3.0.2", {"native": True, "xtb": "/opt/bin/xtb"})
CREST_2 = Installed("crest", "/opt/bin/crest", "2.12", {"native": False, "xtb": "/opt/bin/xtb"})


@pytest.fixture
def water(tmp_path: Path) -> Path:
    path = tmp_path / "water.xyz"
    path.write_text(WATER)
    return path


def user(engine: Engine, installed: Installed, water: Path, *args: str, grant: Grant | None = None) -> Command:
    context = Context(water.parent, {"water.xyz": water}, grant or Grant(2, 512, 64, 0), installed)
    return engine.prepare(step(engine.name, "user", structure="water.xyz", args=list(args)), context)


def test_an_optimisation_runs_gfn2_with_charge_spin_and_solvent_on_the_granted_cores(water: Path) -> None:
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb="chcl3", atoms=["O", "H", "H"], level="tight")
    command = Xtb().prepare(asked, Context(water.parent, {"geometry": water}, Grant(2, 512, 64, 0), XTB))
    line = "/opt/bin/xtb start.xyz --opt tight --gfn 2 --chrg 0 --uhf 0 --alpb chcl3 --norestart -P 2"
    assert command.argv == tuple(line.split())
    assert command.copies == {"start.xyz": water}
    assert command.env["XTBPATH"] == "/opt/share/xtb"


def test_an_optimisation_in_vacuum_names_no_solvent(water: Path) -> None:
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb=None, atoms=["O", "H", "H"])
    command = Xtb().prepare(asked, Context(water.parent, {"geometry": water}, Grant(1, 512, 64, 0), XTB))
    assert "--alpb" not in command.argv


def test_threads_never_exceed_the_grant_and_every_change_is_on_record(water: Path) -> None:
    command = user(Xtb(), XTB, water, "--opt", "-P", "16")
    assert command.argv[2:] == ("--opt", "--norestart", "-P", "2")
    assert any("-P 16 replaced by the 2 cores granted" in note for note in command.notes)
    command = user(Crest(), CREST_3, water, "--quick", "-T", "16")
    assert command.argv[2:] == ("--quick", "-T", "2")
    assert any("-T 16 replaced" in note for note in command.notes)


def test_openmp_gets_its_threads_and_one_level(water: Path) -> None:
    command = user(Xtb(), XTB, water)
    assert command.env["OMP_NUM_THREADS"] == "2,1"
    assert command.env["OMP_MAX_ACTIVE_LEVELS"] == "1"
    assert command.env["OMP_STACKSIZE"] == "256M"
    assert command.env["TMPDIR"] == str(water.parent)


@pytest.mark.parametrize(
    ("cores", "memory", "stack"), [(1, 100_000, 1024), (4, 2048, 512), (16, 64, 64), (8, 1024, 128)]
)
def test_thread_stacks_share_the_memory_of_the_grant(cores: int, memory: int, stack: int) -> None:
    assert stack_mib(Grant(cores, memory, 0, 0)) == stack


def test_a_restart_that_the_job_brings_is_used(water: Path) -> None:
    restart = water.parent / "xtbrestart"
    restart.write_bytes(b"x")
    context = Context(water.parent, {"water.xyz": water, "xtbrestart": restart}, Grant(1, 256, 64, 0), XTB)
    command = Xtb().prepare(step("xtb", "user", structure="water.xyz", args=[]), context)
    assert "--norestart" not in command.argv
    assert command.copies["xtbrestart"] == restart


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--uhf", "1"], "charge_multiplicity"),
        (["--chrg", "1"], None),
        (["--chrg", "1", "--uhf", "1"], None),
        (["--chrg", "11"], "charge_multiplicity"),
        (["--version"], "no_task"),
        (["--define"], "no_task"),
    ],
)
def test_options_that_cannot_work_are_refused(water: Path, args: list[str], code: str | None) -> None:
    if code is None:
        user(Xtb(), XTB, water, *args)
        return
    with pytest.raises(UsageError) as caught:
        user(Xtb(), XTB, water, *args)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["../water.xyz", "-water.xyz", "a/b.xyz", "", ".."])
def test_an_input_name_that_leaves_the_directory_or_looks_like_an_option_is_refused(name: str, water: Path) -> None:
    context = Context(water.parent, {name: water}, Grant(1, 256, 64, 0), XTB)
    for engine in (Xtb(), Crest()):
        with pytest.raises(UsageError, match="plain name"):
            engine.prepare(step(engine.name, "user", structure=name, args=[]), context)


def test_a_structure_that_is_not_among_the_files_is_refused(water: Path) -> None:
    context = Context(water.parent, {"other.xyz": water}, Grant(1, 256, 64, 0), XTB)
    with pytest.raises(UsageError) as caught:
        Xtb().prepare(step("xtb", "user", structure="water.xyz", args=[]), context)
    assert caught.value.code == "input_missing"


@pytest.mark.parametrize(("engine", "setting"), [(Xtb(), "QMRUNNER_XTB"), (Crest(), "QMRUNNER_CREST")])
def test_the_error_of_a_machine_without_the_program_names_its_setting(
    engine: Engine, setting: str, water: Path
) -> None:
    found = engine.locate({}, lambda name: None)
    assert found.path is None
    with pytest.raises(NotReadyError) as caught:
        user(engine, found, water)
    assert caught.value.code == "engine_missing"
    assert setting in str(caught.value.remedy)


def conformers(water: Path, installed: Installed, **params: Any) -> tuple[str, ...]:
    asked = step("crest", "conformers", **{"charge": 0, "multiplicity": 1, "alpb": "chcl3", "quick": None, **params})
    return Crest().prepare(asked, Context(water.parent, {"geometry": water}, Grant(2, 512, 64, 0), installed)).argv


def test_a_conformer_search_uses_the_recorded_options(water: Path) -> None:
    head = "/opt/bin/crest start.xyz --gfn2 --alpb chcl3"
    assert conformers(water, CREST_3, quick="mquick") == tuple(f"{head} --mquick -T 2".split())
    charged = conformers(water, CREST_3, charge=1, multiplicity=2)
    assert charged == tuple(f"{head} --chrg 1 --uhf 1 -T 2".split())
    assert "--alpb" not in conformers(water, CREST_3, alpb=None)


def test_only_a_crest_that_calls_xtb_gets_its_path(water: Path) -> None:
    assert "--xnam" not in conformers(water, CREST_3)
    assert conformers(water, CREST_2)[-2:] == ("--xnam", "/opt/bin/xtb")
    assert user(Crest(), CREST_3, water, "--legacy").argv[-2:] == ("--xnam", "/opt/bin/xtb")


def test_a_crest_that_calls_xtb_does_not_start_without_it(water: Path) -> None:
    alone = Installed("crest", "/opt/bin/crest", "2.12", {"native": False, "xtb": None})
    with pytest.raises(NotReadyError) as caught:
        conformers(water, alone)
    assert caught.value.code == "engine_missing"
    assert "QMRUNNER_XTB" in str(caught.value.remedy)


def test_an_unknown_quick_mode_is_refused(water: Path) -> None:
    with pytest.raises(UsageError, match="quick"):
        conformers(water, CREST_3, quick="fast")


def test_demands_grow_with_the_molecule() -> None:
    for engine in (Xtb(), Crest()):
        small, large = (engine.demand("user", {"atoms": ["H"] * count}) for count in (3, 400))
        assert small.memory_mib(1) < large.memory_mib(1)
        assert small.cores_max <= large.cores_max
    assert Xtb().demand("optimise", {"atoms": ["H"] * 9}).cores_max == 1
    assert Xtb().demand("user", {"args": ["-P", "3"]}).cores_max == 3


@pytest.mark.parametrize("atoms", [3, 30, 300])
@pytest.mark.parametrize("engine", [Xtb(), Crest()], ids=lambda one: one.name)
def test_the_stacks_of_all_threads_fit_into_what_is_reserved(engine: Engine, atoms: int) -> None:
    """A stack that is mapped beyond the memory limit of the container would end the run by SIGSEGV or SIGKILL."""
    for threads in range(1, 65):
        demand = engine.demand("user", {"atoms": ["C"] * atoms, "args": ["-P", str(threads), "-T", str(threads)]})
        grant = Grant(threads, demand.memory_mib(threads), demand.scratch_mib, demand.shm_mib)
        assert stack_mib(grant) * threads <= grant.memory_mib
