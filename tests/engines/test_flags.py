"""Flags that xTB or CREST would leave out, or could not read, are refused; those that CREST does not echo are noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines import flags
from qmrunner.engines.crest.flags import FLAGS as CREST
from qmrunner.engines.crest.flags import not_taken
from qmrunner.engines.xtb.flags import FLAGS as XTB
from qmrunner.errors import UsageError
from tests.engines.support import FIXTURES

TABLES = {"crest": CREST, "xtb": XTB}
# program, what was typed, code, a part of the message or the remedy
REFUSED = [
    ("crest", "--mquick --nosuchflag", "unknown_flag", "does not know --nosuchflag"),
    ("crest", "--json", "unknown_flag", "does not know --json"),
    ("crest", "--apbl chcl3", "unknown_flag", "did you mean --alpb?"),
    ("crest", "--chrg=1", "unknown_flag", "write --chrg 1"),
    ("crest", "--CHRG 1", "unknown_flag", "did you mean --chrg?"),
    ("crest", "--chrg abc", "bad_flag_value", "a whole number after --chrg, not 'abc'"),
    ("crest", "--chrg 1.5", "bad_flag_value", "a whole number"),
    ("crest", "-chrg", "bad_flag_value", "not nothing"),
    ("crest", "--uhf --ewin 6", "bad_flag_value", "after --uhf"),
    ("crest", "--ewin abc", "bad_flag_value", "a number after --ewin"),
    ("crest", "--ewin 6kcal", "bad_flag_value", "a number after --ewin"),
    ("crest", "--len long", "bad_flag_value", "x and a factor"),
    ("crest", "-T all", "bad_flag_value", "a whole number after -T"),
    ("xtb", "--nosuchflag", "unknown_flag", "does not know"),
    ("xtb", "--alpbb water", "unknown_flag", "did you mean --alpb?"),
    ("xtb", "--opt tigth", "bad_flag_value", "did you mean tight?"),
    ("xtb", "--ohess tightt", "bad_flag_value", "did you mean tight?"),
    ("xtb", "--opt=tight", "unknown_flag", "write --opt tight"),
    ("xtb", "--gfn 5", "bad_flag_value", "one of 0, 1, 2, ff"),
    ("xtb", "--gfn2 foo", "unknown_flag", "no word 'foo' after --gfn2"),
    ("xtb", "second.xyz --opt", "unknown_flag", "no word 'second.xyz'"),
    ("xtb", "--etemp warm", "bad_flag_value", "a number after --etemp"),
    ("xtb", "--acc", "bad_flag_value", "not nothing"),
    ("xtb", "--iterations many", "bad_flag_value", "a whole number"),
    ("xtb", "--optimize", "unknown_flag", "does not know --optimize"),
    ("xtb", "--opt --hess", "flags_conflict", "with --opt it ignores --hess"),
    ("xtb", "--gfn 2 --opt tight --vipea", "flags_conflict", "with --opt it ignores --vipea"),
    ("xtb", "--md -o", "flags_conflict", "with --md it ignores -o"),
    ("xtb", "--oniom 1-3", "bad_flag_value", "two methods with a colon"),
    ("xtb", "--oniom gfn2:gfnff", "bad_flag_value", "2 words after --oniom, not nothing"),
    ("xtb", "--oniom gfn2:gfnff --opt", "bad_flag_value", "2 words after --oniom, not '--opt'"),
    ("xtb", "--oniom gfn2 1-3 --opt", "bad_flag_value", "such as gfn2:gfnff"),
    ("xtb", "--alpb --opt", "bad_flag_value", "a word after --alpb, not '--opt'"),
    ("xtb", "--opt --gbsa", "bad_flag_value", "a word after --gbsa, not nothing"),
    ("xtb", "--input --opt", "bad_flag_value", "a word after --input"),
    ("xtb", "--gfn", "bad_flag_value", "a word after --gfn"),
    ("xtb", "--modef --opt", "flags_conflict", "a job for each"),
    ("xtb", "--path end.xyz --opt", "flags_conflict", "a job for each"),
]
ACCEPTED = [
    ("crest", "--gfn2 --alpb chcl3 -T 4 --mquick --chrg -1 --uhf 2 --ewin 6.5 --noreftopo"),
    ("crest", "-gfn2 -g h2o -chrg +1 -len x0.5 --mdlen 10 --tstep 2 --cinp .xcontrol --xnam xtb"),
    ("crest", "--gfn2//gfnff --cregen salvaged.xyz --ethr 0.1d0 --entropy --nci --wscal .9 -C limits --gxtb_dev"),
    ("xtb", "--opt tight --gfn 2 --chrg -1 --uhf 1 --alpb water reference -P 2 --norestart --json"),
    ("xtb", "--ohess --gfnff --etemp 3.0d2 -a 0.1 --cycles 300 --input control.inp --namespace run"),
    ("xtb", "-o -2 --gbsa chcl3 --oniom gfn2:gfnff 1-5 --raman 298 514 --grad"),
    ("xtb", "--vfukui --pop --wbo"),
    ("xtb", "--ohess --ohess tight"),
]


@pytest.mark.parametrize(("program", "typed", "code", "said"), REFUSED, ids=lambda text: text)
def test_what_the_program_would_leave_out_is_refused(program: str, typed: str, code: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        flags.check(TABLES[program], typed.split())
    assert raised.value.code == code
    assert said in f"{raised.value.message} {raised.value.remedy}"


@pytest.mark.parametrize(("program", "typed"), ACCEPTED, ids=lambda text: text)
def test_what_the_program_knows_passes(program: str, typed: str) -> None:
    flags.check(TABLES[program], typed.split())


@pytest.mark.parametrize("program", TABLES)
def test_unconfined_hands_on_a_flag_that_is_unknown_here_but_no_value_that_cannot_be_read(program: str) -> None:
    flags.check(TABLES[program], ["--brandnew", "word", "--chrg", "1"], known_only=False)
    with pytest.raises(UsageError):
        flags.check(TABLES[program], ["--brandnew", "--chrg", "abc"], known_only=False)


@pytest.mark.parametrize(
    ("folder", "typed"),
    [
        ("ethanol-cation", "--gfn2 --alpb chcl3 -T 1 --mquick --chrg 1 --uhf 1"),
        ("ethanol-v2.12", "--gfn2 --alpb chcl3 -T 1 --quick"),
        ("ethanol-legacy", "--gfn2 --alpb chcl3 -T 1 --quick --legacy"),
        ("water", "--gfn2 --alpb chcl3 -T 1 --quick"),
    ],
)
def test_a_flag_that_crest_did_not_echo_is_noted(folder: str, typed: str) -> None:
    log = FIXTURES / "crest" / folder / "stdout.txt"
    assert not_taken(typed.split(), log) == ()
    (note,) = not_taken([*typed.split(), "--brandnew"], log)
    assert "--brandnew" in note
    (note,) = not_taken([*typed.split(), "--ewin", "3"], log)
    assert "--ewin" in note


def test_without_an_echo_nothing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("no banner\n")
    assert not_taken(["--brandnew"], tmp_path / "log") == ()
    assert not_taken(["--brandnew"], tmp_path / "missing") == ()
