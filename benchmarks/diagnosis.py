"""How well failures are diagnosed: `make diagnosis`.

    python benchmarks/diagnosis.py [--errquit FILE] [--wrong]

Three measurements, each through the code that judges real runs:

1. messages of NWChem's `errquit` from FILE (tab-separated: message, category; a missing file leaves this out), each
   printed as NWChem prints it and judged as a failed run. A message counts as right when its class is one that its
   category allows (`ALLOWED`) and it is not `unknown`. The messages are parted by a hash: rules may be written after a
   look at the first half only, so the second half shows the accuracy for unseen messages;
2. the runs recorded in tests/fixtures, by state and code;
3. false alarms: recorded successes that get a code.

`--wrong` also lists what is wrong, of the first half only. Exit status 1 when an aim is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from qmrunner.engines.nwchem import NWChem  # noqa: E402
from qmrunner.engines.nwchem.output.errquit import Abort, finding  # noqa: E402
from qmrunner.model.jobs import Evidence, Exit, Outcome  # noqa: E402
from tests.engines.errquit_blocks import block  # noqa: E402
from tests.engines.recorded import recordings  # noqa: E402
from tests.engines.support import step  # noqa: E402

DEFAULT = ROOT.parent / "shared" / "facts" / "nwchem-errquit.tsv"
AIM = 0.98
# What a category may come to. NWChem files an abort under none (`?`) where its source names none: then anything but
# `transient` is right, for the same input would abort again.
_ANY = frozenset({"resource", "method", "permanent", "operator"})
ALLOWED: dict[str, frozenset[str]] = {
    "MA_ERR": frozenset({"resource"}),
    "GA_ERR": frozenset({"resource"}),
    "MEM_ERR": frozenset({"resource"}),
    "HEAP_ERR": frozenset({"resource"}),
    "STACK_ERR": frozenset({"resource"}),
    "INPUT_ERR": frozenset({"permanent"}),
    "BASIS_ERR": frozenset({"permanent", "operator"}),
    "GEOM_ERR": frozenset({"permanent", "method"}),
    "CAPMIS_ERR": frozenset({"permanent"}),
    "INT_ERR": frozenset({"permanent"}),
    "CALC_ERR": frozenset({"method"}),
    "DISK_ERR": frozenset({"resource", "operator"}),
    "RTDB_ERR": frozenset({"permanent", "resource"}),
}


@dataclass(frozen=True, slots=True)
class Case:
    message: str
    category: str
    outcome: Outcome

    @property
    def right(self) -> bool:
        return self.outcome.code != "unknown" and self.outcome.failure_class in ALLOWED.get(self.category, _ANY)


def first_half(message: str) -> bool:
    return hashlib.sha256(message.encode()).digest()[0] % 2 == 0


def messages(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        message, tab, rest = line.partition("\t")
        if tab and not line.startswith("#"):
            yield message.replace("''", "'"), rest.partition("\t")[0]


def judge(message: str, category: str, directory: Path) -> Case:
    log = directory / "step.1.log"
    log.write_text(block(message, category), encoding="utf-8")
    return Case(message, category, NWChem().interpret(step("nwchem", "deck"), directory, log, Exit(255)))


def by_message_alone(case: Case) -> str:
    return finding(Abort(case.message, Evidence(case.message))).failure_class


def errquit(path: Path, list_wrong: bool) -> bool:
    with tempfile.TemporaryDirectory() as name:
        cases = [judge(message, category, Path(name)) for message, category in messages(path)]
    enough = True
    print(f"errquit: {len(cases)} messages of NWChem")
    for title, some in (
        ("first half, by hash (rules were written on it)", [case for case in cases if first_half(case.message)]),
        ("second half", [case for case in cases if not first_half(case.message)]),
    ):
        right = sum(case.right for case in some) / len(some)
        unknown = sum(case.outcome.code == "unknown" for case in some)
        transient = sum(case.outcome.failure_class == "transient" for case in some)
        print(f"  {title}: {len(some)}")
        print(
            f"    right class {right:.2%}   unknown {unknown / len(some):.2%}   transient {transient / len(some):.2%}"
        )
        alone = sum(by_message_alone(case) in ALLOWED.get(case.category, _ANY) for case in some) / len(some)
        print(f"    of the message alone, as in a log that was cut: {alone:.2%}")
        enough = enough and right >= AIM and not transient
    for category, count in Counter(case.category for case in cases).most_common():
        of = [case for case in cases if case.category == category]
        codes = Counter(case.outcome.code for case in of).most_common(6)
        listing = ", ".join(f"{code} {times}" for code, times in codes)
        print(f"    {category:<12} {count:>5}  right {sum(case.right for case in of) / count:7.2%}  {listing}")
    if list_wrong:
        for case in cases:
            if not case.right and first_half(case.message):
                print(f"  wrong: {case.category} {case.outcome.failure_class} {case.outcome.code} | {case.message}")
    return enough


def corpora() -> bool:
    wrong, alarms, successes, failures = [], [], 0, 0
    with tempfile.TemporaryDirectory() as name:
        for number, recording in enumerate(recordings()):
            folder = Path(name) / str(number)
            folder.mkdir()
            got = recording.judge(folder)
            state, code = got.state, got.code
            if recording.state == "succeeded":
                successes += 1
                alarms += [recording.name] if state != "succeeded" else []
            else:
                failures += 1
                wrong += (
                    [f"{recording.name}: {state} {code}, not {recording.state} {recording.code}"]
                    if (state, code) != (recording.state, recording.code)
                    else []
                )
    print(f"recorded failures: {failures - len(wrong)} of {failures} with the right verdict and code")
    print(f"false alarms: {len(alarms)} of {successes} recorded successes")
    for line in (*wrong, *alarms):
        print(f"  wrong: {line}")
    return not wrong and not alarms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--errquit", default=os.environ.get("QMRUNNER_ERRQUIT_TSV", str(DEFAULT)), metavar="FILE")
    parser.add_argument("--wrong", action="store_true", help="list the wrong ones of the first half")
    asked = parser.parse_args()
    path, enough = Path(asked.errquit), True
    if path.is_file():
        enough = errquit(path, asked.wrong)
    else:
        print(f"errquit: not measured, no {path.name} was found (--errquit FILE or QMRUNNER_ERRQUIT_TSV)")
    return 0 if corpora() and enough else 1


if __name__ == "__main__":
    sys.exit(main())
