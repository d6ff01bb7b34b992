"""Reads the request of each task of a deck: theory, operation, and the settings that determine the name of its energy.

Facts of NWChem 7.0.2 (task_input.F): the words of a task line come in any order; the first that is neither an operation
nor an option is the theory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from qmrunner.engines.nwchem.input import reader
from qmrunner.engines.nwchem.input.around import Around
from qmrunner.engines.nwchem.input.reader import Statement, lower
from qmrunner.engines.nwchem.input.structures import Structures

Load = Callable[[str], bytes | None]
_DEEPEST, _MOST_INCLUDED, _MOST_BYTES = 8, 200, 64 << 20

_OPERATIONS = frozenset({
    "energy", "gradient", "optimize", "saddle", "hessian", "freq", "frequencies", "property", "raman", "neb",
    "string", "dynamics", "qmd", "lst", "mepgs", "thermodynamics", "vscf", "rfcf", "et", "rt_tddft", "gw", "bse",
    "fcidump", "abc", "fep", "dntmc", "aoints", "grdtrc", "nadtrc", "steepest_descent", "espcharge",
    "car-parrinello", "born-oppenheimer", "metropolis", "nwpw-optimize", "aimd_properties", "exafs",
    "conjugate_gradient", "wavefunction_initializer", "v_wavefunction_initializer", "wavefunction_expander",
    "psp_formatter", "psp_generator", "cell_optimize", "stress", "noit_energy", "pspw_dplot", "band_dplot",
    "wannier", "pspw_et", "expand_cell", "ionize", "convert_restricted", "structure", "dos", "dos_dplot", "rdf",
    "lcao", "pauls_matrix_diag", "translate",
})  # fmt: skip
_OPTIONS = frozenset({"numerical", "analytic", "ignore", "debug", "rism", "mm", "qmmm", "fragment", "smd", "pes"})
_WITH_GRADIENTS = frozenset({"gradient", "optimize", "saddle", "freq", "frequencies", "hessian", "dynamics", "qmd"})
# Theories that are also an operation; every other theory without an operation computes an energy.
_ALONE = frozenset({
    "python", "shell", "esp", "dplot", "nbo", "md", "cphf", "prepare", "analysis", "analyze", "moints", "argos",
    "diana", "version", "checksum", "rtdbprint", "lucia", "drdy", "dirdyvtst", "drdy_nwchem", "test",
})  # fmt: skip
# Directives of one line (input_parse.F); all others begin a block that ends with `end`.
_LINES = frozenset({
    "start", "restart", "continue", "title", "echo", "charge", "qcharge", "memory", "scratch_dir", "permanent_dir",
    "set", "unset", "stop", "pause", "speech", "time", "task", "ecce_print", "print", "noprint",
})  # fmt: skip
# Blocks within blocks that have their own `end`.
_PLANE_WAVE_PARTS = frozenset({
    "simulation_cell", "steepest_descent", "car-parrinello", "conjugate_gradient", "brillouin_zone", "pseudopotentials",
    "dplot", "wannier", "apc", "efield", "metropolis", "cell_optimize", "psp_generator",
})  # fmt: skip
_PARTS = {
    "geometry": frozenset({"zmatrix", "zmt", "zcoord", "system"}),
    "tddft": frozenset({"grad"}),
    "rt_tddft": frozenset({"field", "visualization"}),
    **dict.fromkeys(("nwpw", "pspw", "band", "paw", "plnwv"), _PLANE_WAVE_PARTS),
}
_METHODS = {
    "lccd": "LCCD", "ccd": "CCD", "lccsd": "LCCSD", "ccsd": "CCSD", "ccsd_act": "CCSD_ACT", "lr-ccsd": "LR-CCSD",
    "cc2": "CC2", "ccsdt": "CCSDT", "ccsdta": "CCSDTA", "ccsdtq": "CCSDTQ", "ccsd(t)": "CCSD(T)", "ccsd[t]": "CCSD[T]",
    "ccsd(2)_t": "CCSD(2)_T", "ccsd(2)": "CCSD(2)", "ccsdt(2)_q": "CCSDT(2)_Q", "cr-ccsd[t]": "CR-CCSD[T]",
    "cr-ccsd(t)": "CR-CCSD(T)", "lr-ccsd(t)": "LR-CCSD(T)", "qcisd": "QCISD", "cisd": "CISD", "cisdt": "CISDT",
    "cisdtq": "CISDTQ", "mbpt2": "MBPT(2)", "mbpt3": "MBPT(3)", "mbpt4": "MBPT(4)", "mp2": "MBPT(2)", "mp3": "MBPT(3)",
    "mp4": "MBPT(4)",
}  # fmt: skip
_UNRESTRICTED = {
    "uccd": "CCD", "ulccd": "LCCD", "uccsd": "CCSD", "ulccsd": "LCCSD", "uqcisd": "QCISD", "uccsdt": "CCSDT",
    "uccsdtq": "CCSDTQ", "ucisd": "CISD", "ucisdt": "CISDT", "ucisdtq": "CISDTQ", "ump2": "MBPT(2)", "ump3": "MBPT(3)",
    "ump4": "MBPT(4)", "umbpt2": "MBPT(2)", "umbpt3": "MBPT(3)", "umbpt4": "MBPT(4)",
}  # fmt: skip
# Equations of motion whose states have one electron fewer or more than the ground state.
_OF_IONS = {"ipccsd": "IP-", "eaccsd": "EA-"}
# The block with the frozen orbitals of a theory.
_BLOCK_OF = {
    "tce": "tce", **dict.fromkeys(_UNRESTRICTED, "tce"), **dict.fromkeys(("mp2", "direct_mp2", "rimp2"), "mp2"),
    **dict.fromkeys(("ccsd", "ccsd(t)", "ccsd+t(ccsd)"), "ccsd"),
}  # fmt: skip
_LEVELS = {"none": 0, "low": 1, "medium": 2, "default": 2, "high": 3, "debug": 4}
_LOW, _DEFAULT = 1, 2
_TASK_TIME = "task time"
# NWChem's own end mark looks like this title.
_OWN_LINES = {"", " " * 41, " " * 37 + "CITATION"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One task line with what holds for it, words in lower case.

    `operation` is empty for `shell`, `python`, `esp` and the like. `functional` is the only word of the xc line, else
    None; `method` that of the tce block. `root` is the target state, with its `symmetry`, of tddft and of tce's
    equation of motion, whose states are of the cation or anion with `ions` ``IP-`` or ``EA-``. `named` and
    `timed`: whether the print level lets NWChem print its input banner and its times behind this task. `geometries` is
    how many geometry blocks the deck had so far. `nuclei` are the centres whose shieldings were chosen, in order; empty
    for all. `properties` are the words of the property block in force for a property task. `gradient_roots` are
    those that the grad block of tddft names for a task with gradients; `dispersion` is the `disp` line in force.
    `changed` are the settings outside the theory's own block that changed since the task before.
    `frozen` are the core and virtual orbitals that a correlated method's `block` freezes by number; `freezes`: whether
    the block has a `freeze` line. `structure` names the geometry in force.
    """

    theory: str
    operation: str
    ignore: bool = False
    functional: str | None = None
    dftmp2: bool = False
    bsse: bool = False
    method: str | None = None
    root: int | None = None
    symmetry: str | None = None
    named: bool = True
    timed: bool = True
    geometries: int = 0
    nuclei: tuple[int, ...] = ()
    ions: str = ""
    properties: frozenset[str] = frozenset()
    gradient_roots: tuple[int, ...] = ()
    dispersion: str = ""
    changed: tuple[str, ...] = ()
    block: str | None = None
    frozen: tuple[int, int] = (0, 0)
    freezes: bool = False
    structure: tuple[str, int] = ("geometry", 0)

    @property
    def title(self) -> str:
        """The title as in a task line: ``dft optimize``."""
        return f"{self.theory} {self.operation}".strip()


def of_deck(statements: Iterable[Statement], functional: str | None = None) -> tuple[Asked, ...]:
    """The tasks of a deck in order, up to where NWChem stops reading. `functional` is an xc line in force before it."""
    state = _State(xc=tuple(lower(word) for word in (functional or "").split()))
    read = takewhile(lambda statement: not statement.broken, statements)
    return tuple(task for statement in read if (task := state.take(statement)) is not None)


def with_included(data: bytes, load: Load) -> tuple[Statement, ...] | None:
    """The statements of a deck with those of included files at their places.

    `load` returns a file's bytes by the name in the deck. None when a file is missing, or the files, which an engine
    may have replaced, include each other without an end.
    """
    left = _MOST_INCLUDED
    size = len(data)

    def read(data: bytes, depth: int) -> Iterator[Statement]:
        nonlocal left, size
        for line in reader.read(data):
            if line.included is None:
                yield from line.statements
                continue
            left -= 1
            inner = load(line.included) if depth and left >= 0 else None
            size += len(inner or b"")
            if inner is None or size > _MOST_BYTES:
                raise LookupError(line.included)
            yield from read(inner, depth - 1)

    try:
        return tuple(read(data, _DEEPEST))
    except LookupError:
        return None


def geometry_blocks(statements: Iterable[Statement]) -> int:
    """How many geometry blocks a deck has."""
    return sum(statement.directive == "geometry" for statement in statements)


def printed_titles(statements: Iterable[Statement]) -> frozenset[str]:
    """The lines on which NWChem prints the titles of a deck among its own: at the margin, or around column 40."""
    named = (statement for statement in statements if statement.directive == "title" and len(statement.words) > 1)
    found: set[str] = set()
    for title in (statement.words[1].strip() for statement in named):
        blanks = " " * (1 + max(0, 40 - len(title) // 2))
        found |= {reader.shown(title), blanks + reader.shown(title)}
    return frozenset(found - _OWN_LINES)


def restarts(statements: Iterable[Statement]) -> bool:
    """Whether a deck resumes from a database, which may contain settings that the deck does not have."""
    return any(statement.directive == "restart" for statement in statements)


@dataclass(slots=True)
class _State:
    """The settings made by the lines read so far."""

    block: str = ""
    nested: int = 0
    level: int = _DEFAULT
    shown: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    xc: tuple[str, ...] = ()
    dftmp2: bool = False
    bsse: bool = False
    method: str = "CCSD"
    roots: int = 0
    targets: dict[str, int] = field(default_factory=dict)
    symmetries: dict[str, str | None] = field(default_factory=dict)
    geometries: int = 0
    nuclei: tuple[int, ...] = ()
    ions: str = ""
    properties: frozenset[str] = frozenset()
    gradient_roots: tuple[int, ...] = ()
    dispersion: str = ""
    around: Around = field(default_factory=Around)
    structures: Structures = field(default_factory=Structures)
    frozen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, statement: Statement) -> Asked | None:
        word = statement.directive
        self.around.take(statement, within=bool(self.block) and word != "task")
        if word == "task":  # a task is never in a block: an assumed block has ended before
            self.block, self.nested = "", 0
            return self._task([lower(word) for word in statement.words[1:]])
        if self.block:
            self._inside(statement)
        elif word in ("print", "noprint"):
            self._print([lower(word) for word in statement.words])
        elif word == "set":
            self.structures.take(statement)
        elif word and word not in _LINES:
            self.structures.take(statement)
            self._open(word)
        return None

    def _open(self, word: str) -> None:
        self.block, self.nested = word, 0
        self.geometries += word == "geometry"
        self.bsse |= word == "bsse"
        if word == "tce":
            self.roots, self.ions = 0, ""
        elif word == "property":
            self.properties = frozenset()
        self.targets.pop(word, None)
        self.symmetries.pop(word, None)

    def _inside(self, statement: Statement) -> None:
        words = [lower(word) for word in statement.words]
        word = words[0] if words else ""
        if word == "end":
            self.nested -= 1
            if self.nested < 0:
                self.block = ""
        elif word in _PARTS.get(self.block, ()):
            self.nested += 1
            self.gradient_roots = () if word == "grad" else self.gradient_roots
        elif self.block == "tddft" and self.nested and word == "root":
            self.gradient_roots += tuple(int(other) for other in words[1:] if other.isdigit())
        elif self.block == "dft":
            self._dft(words)
        elif word == "freeze" and self.block in ("tce", "mp2", "ccsd"):
            self.frozen[self.block] = _frozen(words[1:])
        elif self.block in ("tce", "tddft") and not self.nested:
            self._states(words)
        elif self.block == "bsse" and word in ("on", "off"):
            self.bsse = word == "on"
        elif self.block == "property":
            self.properties |= set(words)
            self._nuclei(words)

    def _nuclei(self, words: list[str]) -> None:
        """`shielding N a b …`: NWChem keeps an earlier choice where a later block makes none."""
        behind = words[words.index("shielding") + 1 :] if "shielding" in words else []
        chosen = [int(word) for word in takewhile(_is_count, behind)]
        if chosen[1:]:
            self.nuclei = tuple(chosen[1 : chosen[0] + 1])

    def _dft(self, words: list[str]) -> None:
        if words[0] == "xc":
            self.xc = tuple(words[1:])
        elif words[0] == "dftmp2":
            self.dftmp2 = words[1:2] != ["off"]
        elif words[0] == "disp":
            self.dispersion = "" if "off" in words else " ".join(words)

    def _states(self, words: list[str]) -> None:
        number = int(words[1]) if len(words) > 1 and _is_count(words[1]) else None
        if self.block == "tce" and words[0] in _METHODS:
            self.method = _METHODS[words[0]]
        elif self.block == "tce" and words[0] in _OF_IONS:
            self.ions = _OF_IONS[words[0]]
        elif self.block == "tce" and words[0] == "nroots" and number is not None:
            self.roots = number
        elif words[0] == "target" and number is not None:
            self.targets[self.block] = number
        elif words[0] == "targetsym" and len(words) > 1:
            self.symmetries[self.block] = None if words[1] == "none" else words[1]

    def _print(self, words: list[str]) -> None:
        names = words[1:]
        if words[0] == "print" and names and names[0] in _LEVELS:
            self.level = _LEVELS[names.pop(0)]
        more, less = (self.shown, self.hidden) if words[0] == "print" else (self.hidden, self.shown)
        more.update(names)
        less.difference_update(names)

    def _task(self, words: list[str]) -> Asked:
        theory = next((word for word in words if word not in _OPERATIONS | _OPTIONS), "")
        operation = next((word for word in words if word in _OPERATIONS), "")
        if theory in ("shell", "python"):
            operation = ""
        elif not operation and theory not in _ALONE:
            operation = "energy"
        names = [word for word in self.xc if not _number(word)]
        excited = theory == "tddft" or (theory == "tce" and self.roots > 0)
        return Asked(
            theory,
            {"frequencies": "freq"}.get(operation, operation),
            "ignore" in words,
            names[0].upper() if len(names) == 1 else None,
            self.dftmp2,
            self.bsse and operation in ("energy", "gradient", "optimize"),
            _UNRESTRICTED.get(theory, self.method if theory == "tce" else None),
            self.targets.get(theory, 1) if excited else None,
            self.symmetries.get(theory) if excited else None,
            self.level >= _LOW,
            _TASK_TIME not in self.hidden and (self.level >= _DEFAULT or _TASK_TIME in self.shown),
            self.geometries,
            self.nuclei if operation == "property" else (),
            self.ions if theory == "tce" and excited else "",
            self.properties if operation == "property" else frozenset(),
            self.gradient_roots if theory == "tddft" and operation in _WITH_GRADIENTS else (),
            self.dispersion if theory in ("dft", "tddft", "sodft") else "",
            self.around.changed(),
            _BLOCK_OF.get(theory),
            self.frozen.get(_BLOCK_OF.get(theory, ""), (0, 0)),
            _BLOCK_OF.get(theory, "") in self.frozen,
            self.structures.current,
        )


def _is_count(word: str) -> bool:
    """Whether `word` is a number of digits. `²` is a digit to Python, and a byte of a deck can be one."""
    return word.isascii() and word.isdigit()


def _frozen(words: list[str]) -> tuple[int, int]:
    """`freeze [core] N [virtual N]`; 0 where there is no number, as in `atomic`."""
    at = words.index("virtual") if "virtual" in words else len(words)
    core, virtual = (next((int(word) for word in some if _is_count(word)), 0) for some in (words[:at], words[at:]))
    return core, virtual


def _number(word: str) -> bool:
    try:
        float(word.replace("d", "e"))
    except ValueError:
        return False
    return True
