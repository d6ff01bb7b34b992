"""The table of failure codes in docs/engines.md is that of the catalogues."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGINES = ROOT / "qmrunner" / "engines"
FILES = {
    "all engines": ("common.toml",),
    "NWChem": ("nwchem/signatures.toml", "nwchem/output/errquit.toml"),
    "xTB": ("xtb/signatures.toml", "xtb/trace.toml"),
    "CREST": ("crest/signatures.toml",),
}
_ROW = re.compile(r"^\| (all engines|NWChem|xTB|CREST) \| (\w+) \| (`.+`) \|$", re.MULTILINE)


def test_the_table_names_every_code_under_its_class_and_no_other() -> None:
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for engine, names in FILES.items():
        for name in names:
            data = tomllib.loads((ENGINES / name).read_text())
            for entry in [*data.get("signature", []), *data.get("family", {}).values()]:
                known[engine, entry["class"]].add(entry["code"])
    marks = tomllib.loads((ENGINES / "nwchem" / "output" / "unconverged.toml").read_text())
    known["NWChem", "method"] |= {entry["code"] for entry in marks["mark"]} | {"task_failed"}
    for engine in ("NWChem", "xTB"):
        known[engine, "method"].add("topology_changed")  # no line of an output: the bonds are compared
    for engine in ("xTB", "CREST"):
        known[engine, "operator"].add("stack_limit")  # a crash under a small hard limit
    told = {
        (engine, kind): set(re.findall(r"`(\w+)`", codes))
        for engine, kind, codes in _ROW.findall((ROOT / "docs" / "engines.md").read_text())
    }
    assert told == dict(known)
