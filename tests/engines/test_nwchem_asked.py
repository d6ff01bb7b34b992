"""What a deck asks for, task by task."""

from __future__ import annotations

import pytest

from qmrunner.engines.nwchem.input import asked, reader
from qmrunner.engines.nwchem.input.asked import Asked


def of(text: str) -> tuple[Asked, ...]:
    return asked.of_deck(reader.statements(text.encode()))


@pytest.mark.parametrize(
    ("line", "theory", "operation"),
    [
        ("task dft optimize", "dft", "optimize"),
        ("TASK Optimize DFT", "dft", "optimize"),
        ("task dft", "dft", "energy"),
        ("task ccsd(t) freq numerical", "ccsd(t)", "freq"),
        ("task scf frequencies", "scf", "freq"),
        ("task dft optimize ignore", "dft", "optimize"),
        ("task pspw Car-Parrinello", "pspw", "car-parrinello"),
        ('task shell "echo task dft energy"', "shell", ""),
        ("task esp", "esp", ""),
        ("task python", "python", ""),
        ("task qmmm dft energy", "dft", "energy"),
    ],
)
def test_a_task_line_has_a_theory_and_an_operation_in_any_order(line: str, theory: str, operation: str) -> None:
    (task,) = of(f"{line}\n")
    assert (task.theory, task.operation, task.ignore) == (theory, operation, line.endswith("ignore"))


@pytest.mark.parametrize(
    ("block", "functional"),
    [
        ("dft; xc b3lyp; end", "B3LYP"),
        ("dft; XC M06-2X; mult 3; end", "M06-2X"),
        ("dft; xc hfexch 1.0; end", "HFEXCH"),
        ("dft; xc xpbe96 cpbe96; end", None),
        ("dft; xc hfexch 0.53 becke88 0.47; end", None),
        ("dft; mult 2; end", None),
        ("dft; xc b3lyp; end; dft; iterations 50; end", "B3LYP"),
        ("dft; xc b3lyp; end; dft; xc pbe0; end", "PBE0"),
    ],
)
def test_a_functional_names_the_energy_where_one_word_names_it(block: str, functional: str | None) -> None:
    assert of(f"{block}\ntask dft energy\n")[0].functional == functional


def test_settings_hold_from_where_they_stand() -> None:
    first, second, third = of(
        "tce; ccsd; nroots 3; target 2; targetsym b1; end\ntask tce energy\n"
        "tce; ccsd(t); end\ntask tce energy\n"
        "bsse; mon a 1; mon b 2; end\ntask scf energy\n"
    )
    assert (first.method, first.root, first.symmetry) == ("CCSD", 2, "b1")
    assert (second.method, second.root, second.symmetry) == ("CCSD(T)", None, None)
    assert third.bsse
    assert not first.bsse


def test_print_within_a_block_and_a_block_within_a_block_leave_the_level_of_the_deck() -> None:
    deck = (
        "geometry; zmatrix; O; H 1 r; variables; r 0.9; end; end\nscf; print none; end\n"
        "tddft; grad; print none; root 1; end; print none; end\nnwpw; simulation_cell; sc 9; end; print none; end\n"
        "property; mulliken; print none; end\nrt_tddft; field f; type cw; end; print none; end\n"
        'task scf energy\nprint none\ntask scf energy\nprint low\ntask scf energy\nprint none "task time"\n'
        'task scf energy\nprint medium\nnoprint "task time"\ntask scf energy\n'
    )
    assert [(task.named, task.timed) for task in of(deck)] == [
        (True, True), (False, False), (True, False), (False, True), (True, False),
    ]  # fmt: skip


def test_included_files_have_their_tasks_in_their_places() -> None:
    files = {"a.nw": b"task scf energy\ninclude b.nw\n", "b.nw": b"task mp2 energy\n"}
    found = asked.with_included(b"task dft energy\ninclude a.nw\ntask ccsd energy\n", files.get)
    assert found is not None
    assert [task.theory for task in asked.of_deck(found)] == ["dft", "scf", "mp2", "ccsd"]
    assert asked.with_included(b"include missing.nw\n", files.get) is None
    assert asked.with_included(b"include loop.nw\n", {"loop.nw": b"include loop.nw\n"}.get) is None


def test_files_that_include_each_other_many_times_are_not_read_to_their_end() -> None:
    """An engine can replace them: ten lines in nine files are a thousand million."""
    reads: list[str] = []

    def load(name: str) -> bytes:
        reads.append(name)
        return b"include again.nw\n" * 10

    assert asked.with_included(b"include first.nw\n", load) is None
    assert len(reads) < 1000

    def twice(name: str) -> bytes:
        return b"" if name == "9" else b"include %d\n" % (int(name) + 1) * 2

    assert asked.with_included(b"include 1\n", twice) is None
    assert asked.with_included(b"include large\n" * 50, lambda _: b"#" * (2 << 20)) is None


def test_tasks_behind_a_quote_that_is_not_closed_are_not_read() -> None:
    assert len(of('task scf energy\ntitle "open\ntask scf energy\n')) == 1


@pytest.mark.parametrize("digits", ["²", "³1", "¹²", "١"])
@pytest.mark.parametrize(
    "block", ["tddft\n target {}\nend\ntask tddft", "property\n shielding {0} {0}\nend\ntask dft property"]
)
def test_digits_that_only_python_takes_for_digits_are_words(block: str, digits: str) -> None:
    """In latin-1 a byte of a deck can be `²`, of which `int` knows nothing."""
    (task,) = asked.of_deck(reader.statements(block.format(digits).encode("latin-1", "replace")))
    assert task.root in (None, 1)
    assert task.nuclei == ()
