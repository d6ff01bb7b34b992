"""Every recorded run of NWChem, xTB and CREST: the verdict a person gave it, beside that of the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qmrunner.engines.crest.engine import Crest
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Outcome
from tests.engines import test_crest_recorded as crest
from tests.engines import test_nwchem_recorded as nwchem
from tests.engines import test_xtb_recorded as xtb
from tests.engines.support import FIXTURES, attempt, exit_of, step


@dataclass(frozen=True, slots=True)
class Recording:
    """One run. `judge` lays it out in an empty folder and judges it."""

    name: str
    state: str
    code: str
    judge: Callable[[Path], Outcome]


def recordings() -> Iterator[Recording]:
    """All of them, engine by engine."""
    for folder in nwchem.RECORDED:
        yield _nwchem(folder)
    for folder in xtb.RECORDED:
        yield _xtb(folder)
    for folder in crest.RUNS:
        yield _crest(folder)


def _nwchem(folder: Path) -> Recording:
    name, expected = folder.name, nwchem.meta_of(folder)["expected"]
    state = "failed" if expected["outcome"] == "truncated" else expected["outcome"]
    code = nwchem.OTHER_WORD.get(name, expected["code"])
    return Recording(
        f"nwchem/{name}", state, code, lambda place: nwchem.verdict(folder, place, nwchem.STOP_REASONS.get(name))
    )


def _xtb(folder: Path) -> Recording:
    case = xtb.load(folder)
    expected, name = case.meta["expected"], folder.name
    outcome = "failed" if expected["outcome"] == "truncated" else expected["outcome"]
    state, code = xtb.SEEN_FROM_OUTPUT.get(name, (outcome, expected["code"]))

    def judge(place: Path) -> Outcome:
        directory, log = attempt(folder, case.meta["files_after"], place)
        exit = exit_of(case.meta, stop_reason=xtb.STOP_REASONS.get(name), oom_kills=int(name in xtb.OOM_KILLED))
        return Xtb().interpret(step("xtb", "user", structure="input.xyz", args=case.args), directory, log, exit)

    return Recording(f"xtb/{name}", state, code, judge)


def _crest(folder: Path) -> Recording:
    state, code = crest.VERDICTS[folder.name]

    def judge(place: Path) -> Outcome:
        run, directory, log = crest.recorded(str(folder.relative_to(FIXTURES / "crest")), place)
        asked = step("crest", "user", structure=run["argv"][1], args=run["argv"][2:])
        return Crest().interpret(asked, directory, log, exit_of(run))

    return Recording(f"crest/{folder.name}", state, code, judge)
