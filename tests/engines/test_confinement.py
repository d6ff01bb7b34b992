"""A submitted deck gets what its own folder holds, and nothing else: what is refused, and what is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.engines import input_check
from qmrunner.engines.crest import input_check as crest
from qmrunner.engines.nwchem import findings
from qmrunner.engines.nwchem.input import allow_list
from qmrunner.engines.xtb import input_check as xtb
from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from tests.engines.hostile import ACTS, HEAD, REFUSED
from tests.engines.support import FIXTURES

EXAMPLES = Path(__file__).parents[2] / "examples"
HOSTILE = {name: text.replace("{out}", "/srv/others") for name, text in (ACTS | REFUSED).items()}
HONEST = HEAD + "task scf\n"
WATER = b"3\nwater, from /home/me/water.log\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
MORE = b"title more\n"


def of_deck(text: str, **others: bytes) -> list[input_check.Finding]:
    return findings("deck.nw", {"deck.nw": text.encode(), **others})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_deck_is_refused_with_its_line_a_reason_and_a_remedy(name: str) -> None:
    found = of_deck(HOSTILE[name], **{"more.nw": MORE})
    assert found
    with pytest.raises(UsageError) as refused:
        input_check.refuse(found)
    assert refused.value.code == "deck_escapes"
    assert re.search(r"deck\.nw line \d+: ", str(refused.value.evidence))
    assert found[0].reason in refused.value.message
    assert "--unconfined" in str(refused.value.remedy)
    assert str(refused.value.evidence).replace("\n", "").isprintable()


def test_the_line_is_that_of_the_users_file() -> None:
    assert [(f.line, f.text) for f in of_deck('title x\n\n# c \\\ntask scf; task \\\n shell "id"\n')] == [
        (4, ' task   shell "id"')
    ]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("nwchem/*/input.nw")), ids=lambda path: path.parent.name)
def test_every_recorded_deck_passes(path: Path) -> None:
    assert findings(path.name, {path.name: path.read_bytes()}) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.nw")), ids=lambda path: path.name)
def test_every_example_passes(path: Path) -> None:
    assert findings(path.name, {path.name: path.read_bytes()}) == []


@pytest.mark.parametrize(
    "line",
    [
        "# computed in /home/me/old, with include /etc/x",
        'title "B3LYP/6-31G* of an open shell / doublet, ~300 K..."',
        "scratch_dir /big/disk  # overridden, the attempt's directory is used",
        "scf; vectors input old.movecs output ./new.movecs; end",
        "set geometry:actlist 1:3",
        "driver; xyz path; end",
        "basis; * library 6-311+G(2d,p); end",
        "restart w-2.b",
    ],
)
def test_honest_lines_pass(line: str) -> None:
    assert of_deck(f"{line}\n{HONEST}") == []


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        'title "a/b ../c and /etc/passwd"',
        'title "task shell rm -rf ~/x"',
        "ecce_print ecce.out",
        "charge 0 # // see http://example.org/a and ../b",
        "# task shell; python; server",
        'title "B3LYP//MP2: \u00e4, 5 \u00c5"',
        'set "dft:note" B3LYP/6-31G*',
        "start Au+(H2O)2",
        "set zora:skip_cphf_ev_shield T",
        'set "giao:atom list" 1 3',
        "set aoresponse:gamwidth 0.007",
        "set lkain:rmax 5.0",
        "print low",
        "driver; xyz step; maxiter 3; end",
        "memory total 200 mb \\\n  # more\n",
        "scratch_dir /big/disk \\\n",
    ],
)
def test_harmless_lines_pass(line: str, strict: bool) -> None:
    deck = f"{line}\n{HONEST}".encode()
    assert findings("deck.nw", {"deck.nw": deck}, strict=strict) == []


def test_what_is_not_known_to_be_harmless_is_refused_by_name_where_the_check_alone_holds() -> None:
    for line in (
        "md; system w; end",
        "nwpw; mult 1; end",
        "dft; frobnicate; end",
        "task raman",
        "set raman:x 1",
        "set solver:filestub x",
    ):
        deck = f"{HONEST}{line}\n".encode()
        assert findings("deck.nw", {"deck.nw": deck}) == []
        found = findings("deck.nw", {"deck.nw": deck}, strict=True)
        assert "known to be harmless" in "".join(finding.reason for finding in found)


def test_no_word_that_a_block_allows_is_a_directive_that_is_not_allowed() -> None:
    allowed_words = {word for words in allow_list.BLOCKS.values() if words for word in words}
    assert not allowed_words & allow_list.NEVER
    assert not (allow_list.LINES | set(allow_list.BLOCKS)) & allow_list.NEVER


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("nwchem/ok-*/input.nw")), ids=lambda path: path.parent.name)
def test_every_recorded_deck_that_ran_passes_where_the_check_alone_holds(path: Path) -> None:
    assert findings(path.name, {path.name: path.read_bytes()}, strict=True) == []


def test_a_submitted_file_may_be_included_above_the_tasks_and_is_checked() -> None:
    deck = "include more.nw\n" + HONEST
    assert of_deck(deck, **{"more.nw": MORE}) == []
    for hostile in (b'task shell "id"\n', b"include deck.nw\n", b"scratch_dir /x\n", b"title \\\n/etc/x\n"):
        assert [f.file for f in of_deck(deck, **{"more.nw": hostile})] == ["more.nw"]


def test_a_submitted_structure_may_contain_anything_but_an_include() -> None:
    assert of_deck(HONEST, **{"water.xyz": WATER}) == []
    assert of_deck(HONEST, **{"old.movecs": bytes(range(256))}) == []
    assert of_deck(HONEST, **{"water.xyz": WATER + b"\rInclude /etc/passwd\n"})


def test_a_submitted_database_is_refused_because_it_names_files_itself() -> None:
    assert of_deck("restart w\ntask scf\n", **{"w.db": b"\0"})
    assert of_deck("restart w rtdb base\ntask scf\n", base=b"\0")


def test_a_repeated_finding_is_cut_short() -> None:
    with pytest.raises(UsageError) as refused:
        input_check.refuse(of_deck(HONEST + 'task shell "id"\n' * 40))
    assert "and 35 more" in str(refused.value.evidence)


CASES = st.sampled_from([str, str.upper, str.title, str.swapcase])
BLANKS = st.sampled_from([" ", "\t", "  \t ", " \\\n ", " \\ \t\n"])


@given(
    st.sampled_from(["task", '"task"', '"task "']),
    st.sampled_from(["shell", '"shell"', '" shell\t"', "python", "debug"]),
    CASES,
    CASES,
    BLANKS,
    st.sampled_from(["", " ", "\t", "charge 0;", "charge 0; ;", "title x\\#;", 'title "a;b"\r', "set a 1 \n;"]),
    st.sampled_from(["", " all", " 0", " ignore"]),
    st.sampled_from(["\n", "\r\n", "\r", "; charge 0\n", " # x\n", ""]),
)
def test_no_spelling_of_a_task_that_runs_something_passes(
    task: str,
    shell: str,
    case: Callable[[str], str],
    other: Callable[[str], str],
    blank: str,
    before: str,
    middle: str,
    end: str,
) -> None:
    line = f'{before}{case(task)}{blank}{other(shell)}{middle} "id"{end}'
    assert of_deck(HEAD + line)


@given(
    st.sampled_from(["/etc/x", "../x", "a/../../x", "~/x", "~root/.x", "//etc/x", "./../x", "/", ".."]),
    st.sampled_from(["{}", '"{}"', '" {}"', '"a {} b"', "a={}", "ufs:{}", "'{}'", "({})", "a,{}", "\\{}", "{};"]),
    BLANKS,
    st.sampled_from(
        ["vectors input", "set scf:x", "output", "load", "* library", "xyz", "start w rtdb", "print", "system"]
    ),
    st.text(st.characters(codec="ascii", exclude_characters="#\n\r\\"), max_size=20),
)
def test_no_spelling_of_a_path_that_leads_elsewhere_passes(
    path: str, quoted: str, blank: str, directive: str, after: str
) -> None:
    assert of_deck(f"{HEAD}{directive}{blank}{quoted.format(path)} {after}\ntask scf\n")


@given(st.data())
def test_no_mutation_of_a_hostile_deck_that_keeps_its_words_passes(data: st.DataObject) -> None:
    text = HOSTILE[data.draw(st.sampled_from(sorted(HOSTILE)))]
    for _ in range(data.draw(st.integers(0, 4))):
        lines = text.split("\n")
        at = data.draw(st.integers(0, len(lines)).filter(lambda at, lines=lines: not lines[at - 1].endswith("\\")))
        lines.insert(at, data.draw(st.sampled_from(["# c", "", "  ", "title x", "charge 0 # c"])))
        text = "\n".join(lines)
    text = data.draw(st.sampled_from([text, text.replace("\n", "\r\n"), text.rstrip("\n"), text + "\n.\n"]))
    assert of_deck(text, **{"more.nw": MORE})


@pytest.mark.parametrize(
    "args",
    [
        ["--driver", "sh -c id"],
        ["-driver", "id"],
        ["--driver=id"],
        ["--orca"],
        ["--mopac"],
        ["--tm"],
        ["--oniom", "orca:gfnff", "1-3"],
        ["--input", "/etc/passwd"],
        ["--vparam", "../x"],
        ["--namespace", "/srv/x"],
        ["--path", "~/x.xyz"],
        ["--bias-input", "a/../../x"],
    ],
)
def test_options_of_xtb_that_start_programs_or_leave_the_folder_are_refused(args: list[str]) -> None:
    assert xtb.findings(args, {"water.xyz": WATER})


@pytest.mark.parametrize(
    "args",
    [
        ["--opt", "tight", "--alpb", "chcl3", "--gfn", "2", "-P", "1"],
        ["--input", "constraints.inp", "--namespace", "run-1", "--oniom", "gfn2:gfnff", "1-3,5"],
        ["--chrg", "-1", "--uhf", "1", "--etemp", "1000.0", "--json"],
    ],
)
def test_honest_options_of_xtb_pass(args: list[str]) -> None:
    assert xtb.findings(args, {"water.xyz": WATER}, strict=True) == []


@pytest.mark.parametrize(
    "block",
    [
        "$external\n   orca bin=/bin/sh\n$end\n",
        " $EXTERNAL\n$end\n",
        "$write\n   output file=/srv/x\n$end\n",
        "$opt\n   logfile=../../x\n$end\n",
        "$embedding\r   input: /etc/passwd\n",
        "$set\n runtyp screen\n$end\n",
        " $SET\r\n\tRunTyp   Screen # c\n",
        "$set\nchrg 0\nruntyp mystery\n",
    ],
)
def test_instructions_of_xtb_that_start_programs_or_leave_the_folder_are_refused_in_any_file(block: str) -> None:
    for name in ("xtb.inp", "coord", "water.xyz"):
        assert xtb.findings([], {name: WATER.replace(b"/home/me/", b"") + block.encode()})
        assert crest.findings([], {name: block.encode()})


@pytest.mark.parametrize("block", ["$oniom\n inner logic=1\n", "$set\n chrg 0\n", "$what\n a=b\n"])
def test_unknown_instructions_of_xtb_are_refused_where_the_check_alone_holds(block: str) -> None:
    assert xtb.findings([], {"xtb.inp": block.encode()}) == []
    assert xtb.findings([], {"xtb.inp": block.encode()}, strict=True)
    assert crest.findings([], {"xtb.inp": block.encode()}, strict=True)
    assert xtb.findings(["--frobnicate"], {}, strict=True)
    assert crest.findings(["--frobnicate"], {}, strict=True)
    assert crest.findings([], {"r.toml": b"frobnicate = 1"}, strict=True)
    assert crest.findings([], {"r.toml": b"calculation.level = [{method = 'mystery'}]"}, strict=True)


def test_honest_instructions_of_xtb_pass() -> None:
    block = b"$constrain\n  force constant=0.5\n  distance: 1, 2, auto\n$opt\n  logfile=run.log\n$end\n"
    assert xtb.findings([], {"xtb.inp": block, "water.xyz": WATER}, strict=True) == []


@pytest.mark.parametrize(
    "args",
    [
        ["-xnam", "/tmp/evil"],
        ["--qmdff"],
        ["-dftrc", "rc"],
        ["--xnam", "evil"],
        ["-scratch", "/srv"],
        ["--alpb", "h2o; id"],
        ["--alpb", "$(id)"],
        ["-cinp", "../x"],
        ["-cinp", "a|b"],
        ["--oniom", "x.toml"],
        ["--input", "orders.txt"],
    ],
)
def test_options_of_crest_that_start_programs_or_leave_the_folder_are_refused(args: list[str]) -> None:
    assert crest.findings(args, {"water.xyz": WATER})


@pytest.mark.parametrize("args", [["--gfn2", "--alpb", "chcl3", "-T", "2"], ["--gfn2//gfnff", "-cinp", "c.inp"]])
def test_honest_options_of_crest_pass(args: list[str]) -> None:
    assert crest.findings(args, {"water.xyz": WATER}, strict=True) == []


@pytest.mark.parametrize(
    "orders",
    [
        'binary = "/bin/sh"',
        'input = "w.xyz"\n[calculation]\n[[calculation.level]]\nmethod = "generic"\nbinary = "run"',
        '[[calculation.level]]\n"b\\u0069nary" = "run"',
        '[[calculation.level]]\nMethod = "ORCA"',
        "calculation.level = [{script = 'x'}]",
        'refinput = "../x"',
        'solvent = "h2o; id"',
        'a = """\nbinary = "run"\n"""',
        "[confsolv]\nport = 80",
        'calculation.level = [{systemcall = "id"}]',
        'calculation.level = [{method = "gfn2", flags = "x"}]',
        "this is = no = toml",
    ],
)
def test_orders_to_crest_that_start_programs_or_leave_the_folder_are_refused(orders: str) -> None:
    assert crest.findings(["--input", "r.toml"], {"w.xyz": WATER, "r.toml": orders.encode()})


@pytest.mark.parametrize("blanks", ["", " ", "   "])
@pytest.mark.parametrize("strict", [False, True])
def test_blanks_that_fortran_ignores_hide_no_word(blanks: str, strict: bool) -> None:
    files = {"w.xyz": WATER}
    for flag in ("--driver", "-driver", "--orca", "--mopac", "--tm"):
        reasons = [found.reason for found in xtb.findings([f"{flag}{blanks}", "id"], files, strict=strict)]
        assert "starts another program" in reasons, flag
    for key, value in (("bin", "sh"), ("cmd", "id"), ("method", f"generic{blanks}"), ("method", f"orca{blanks}")):
        orders = f'[[calculation.level]]\n"{key}{blanks}" = "{value}"'.encode()
        found = crest.findings(["--input", "r.toml"], {**files, "r.toml": orders}, strict=strict)
        assert [one.reason for one in found] == ["starts another program"], orders


def test_honest_orders_to_crest_pass() -> None:
    orders = 'input = "w.xyz"\nthreads = 2\nrestart = true\n[[calculation.level]]\nmethod = "gfn2"\n'
    assert crest.findings(["--input", "r.toml"], {"w.xyz": WATER, "r.toml": orders.encode()}, strict=True) == []


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "", "..", "-x", ".nwchemrc", ".xtbrc", ".xcontrol", "x$(id).xyz", "a;b", "a`b`", "a|b", "tmp",
     "checkpoint", "x\n.nw", "x" * 201],
)  # fmt: skip
def test_file_names_that_leave_the_folder_or_mean_something_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        input_check.check_names([name])
    assert refused.value.code == "bad_file_name"


@pytest.mark.parametrize("name", ["water.xyz", "water (1).xyz", "Ätznatron.nw", ".CHRG", ".UHF", "w.movecs", "a+b=c"])
def test_ordinary_file_names_pass(name: str) -> None:
    input_check.check_names([name])


def test_submissions_are_confined_unless_the_owner_of_the_machine_decides_otherwise(tmp_path: Path) -> None:
    deck, structure = tmp_path / "deck.nw", tmp_path / "water.xyz"
    deck.write_text(HOSTILE["a shell task"])
    structure.write_bytes(WATER)
    for refused in (
        lambda: job_kinds.nwchem(str(deck)),
        lambda: job_kinds.xtb(str(structure), ["--driver", "id"]),
        lambda: job_kinds.crest(str(structure), ["-xnam", "id"]),
    ):
        with pytest.raises(UsageError) as error:
            refused()
        assert error.value.code == "deck_escapes"
    assert job_kinds.nwchem(str(deck), unconfined=True).params["unconfined"] is True
    assert job_kinds.xtb(str(structure), ["--driver", "/bin/id"], unconfined=True).params["unconfined"] is True
    deck.write_text(HONEST)
    assert "unconfined" not in job_kinds.nwchem(str(deck)).params


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("block", ["basis", "ecp", "so", "geometry", "bas"])
@pytest.mark.parametrize(
    "tag",
    ["title", "TITLE", '"title"', '"title "', "speech", "start", "restart", "scratch_dir", "permanent_dir", "set", "He",
     "print", "charge", "task", "memory", "ecce_print", "end title"],
)  # fmt: skip
def test_no_first_word_lets_a_line_name_a_file_elsewhere(tag: str, block: str, strict: bool) -> None:
    """Any of them may be the tag of an atom in a block: what is let through must not hang on the first word."""
    text = f"start w\n{block}\n {tag} library canary file /somewhere/else/ ; charge 0\nend\ntask scf\n"
    assert findings("a.nw", {"a.nw": text.encode()}, strict=strict)
