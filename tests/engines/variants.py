"""Ways to write a deck, each of which the real NWChem takes or does not: geometry, text, spelling, files beside it."""

# ruff: noqa: E501 (one variant a line)

from __future__ import annotations

from dataclasses import dataclass, field

_BASIS = "basis\n * library sto-3g\nend\n"
H2 = "geometry\n H 0 0 0\n H 0 0 0.74\nend\n"
END = "task scf\n"
_XYZ = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.47\nH 0 -0.757 -0.47\n"
_WATER = " O 0 0 0.117\n H 0 0.757 -0.47\n H 0 -0.757 -0.47\n"


@dataclass(frozen=True, slots=True)
class Variant:
    """A deck as bytes, the files beside it, and how many atoms it has; None where its own lines do not show it."""

    deck: bytes
    atoms: int | None
    files: dict[str, bytes] = field(default_factory=dict)


def _deck(
    geometry: str, atoms: int | None, *, before: str = "", after: str = "", basis: str = _BASIS, **files: str
) -> Variant:
    text = f"start v\n{before}{geometry}{basis}{after}{END}"
    beside = {name.replace("_", "."): data.encode() for name, data in files.items()}
    return Variant(text.encode("latin-1"), atoms, beside)


def _water(line: str, atoms: int | None = 3, *, rows: str = _WATER, **more: str) -> Variant:
    return _deck(f"geometry {line}\n{rows}end\n", atoms, **more)


def _h2(**more: str) -> Variant:
    return _deck(H2, 2, **more)


GEOMETRIES = {
    "angstroms": _water("units angstroms"),
    "atomic units": _water("units au", rows=" O 0 0 0.22\n H 0 1.43 -0.89\n H 0 -1.43 -0.89\n"),
    "bohr": _water("units bohr", rows=" O 0 0 0.22\n H 0 1.43 -0.89\n H 0 -1.43 -0.89\n"),
    "atomic": _water("units atomic", rows=" O 0 0 0.22\n H 0 1.43 -0.89\n H 0 -1.43 -0.89\n"),
    "nanometres": _water("units nm", rows=" O 0 0 .0117\n H 0 .0757 -.047\n H 0 -.0757 -.047\n"),
    "picometres": _water("units pm", rows=" O 0 0 11.7\n H 0 75.7 -47\n H 0 -75.7 -47\n"),
    "a factor of its own": _water("units angstrom ang2au 1.8897265"),
    "unknown units": _water("units furlong"),
    "a short tag": _water("", rows=" o 0 0 0.117\n h1 0 0.757 -0.47\n H2 0 -0.757 -0.47\n"),
    "tags with underscores": _water("", rows=" O_acc 0 0 0.117\n H_1 0 0.757 -0.47\n H_2 0 -0.757 -0.47\n"),
    "tags of words": _water("", rows=" oxygen 0 0 0.117\n hydrogen 0 0.757 -0.47\n Hydrogen 0 -0.757 -0.47\n"),
    "no element": _water("", rows=" Qq 0 0 0.117\n H 0 0.757 -0.47\n H 0 -0.757 -0.47\n"),
    "a ghost": _water(
        "", None, rows=f"{_WATER} bqH 0 0 2\n", basis="basis\n * library sto-3g\n bqH library H sto-3g\nend\n"
    ),
    "a point charge": _water("", None, rows=f"{_WATER} bq 0 0 3 charge 0.1\n"),
    "a dummy": _water("", None, rows=f"{_WATER} X 0 0 3\n"),
    "exponents": _water("", rows=" O 0d0 0.e0 1.17D-1\n H 0 7.57E-1 -.47d+0\n H 0 -757d-3 -0.47\n"),
    "a mass and a charge": _water(
        "", rows=" O 0 0 0.117 mass 17.999 charge 8\n H 0 0.757 -0.47 mass 2.014\n H 0 -0.757 -0.47\n"
    ),
    "a finite nucleus": _water("", rows=" O 0 0 0.117 nuc finite\n H 0 0.757 -0.47\n H 0 -0.757 -0.47\n"),
    "velocities": _water("", rows=" O 0 0 0.117 0 0 0.1\n H 0 0.757 -0.47 0 0 0\n H 0 -0.757 -0.47 0 0 0\n"),
    "tabs": _water("units\tangstrom", rows=_WATER.replace(" ", "\t")),
    "no print": _water("noprint noautoz nocenter"),
    "print": _water("print xyz units angstrom"),
    "autosym with a tolerance": _water("autosym 0.001"),
    "symmetry": _water("", None, rows=" symmetry c2v\n O 0 0 0.117\n H 0 0.757 -0.47\n"),
    "symmetry after the atoms": _water("", None, rows=" O 0 0 0.117\n H 0 0.757 -0.47\n symmetry group c2v\n"),
    "symmetry that changes nothing": _water("", None, rows=f"{_WATER} symmetry c1\n"),
    "an internal matrix": _water("", None, rows=" zmatrix\n O\n H 1 0.96\n H 1 0.96 2 104.5\n end\n"),
    "an internal matrix with variables": _water(
        "", None, rows=" zmat\n O\n H 1 r\n H 1 r 2 a\n variables\n r 0.96\n constants\n a 104.5\n end\n"
    ),
    "an internal matrix called zmt": _water(
        "", None, rows=" zmt\n O\n H 1 r\n H 1 r 2 a\n variables\n r 0.96\n a 104.5\n end\n"
    ),
    "internal coordinates": _water("", None, rows=f"{_WATER} zcoord\n bond 1 2 0.97 oh\n end\n"),
    "a loaded file": _water("", None, rows=" load w.xyz\n", w_xyz=_XYZ),
    "a loaded frame": _water("", None, rows=" load format xyz frame 2 w.xyz\n", w_xyz=_XYZ * 2),
    "a loaded file and an atom": _water("", None, rows=" load w.xyz\n He 0 0 4\n", w_xyz=_XYZ),
    "a loaded file that is not there": _water("", None, rows=" load w.xyz\n"),
    "two geometries": _deck(f"geometry other\n He 0 0 0\nend\ngeometry first\n{_WATER}end\nset geometry first\n", None),
    "a name": _deck(f"geometry mine units angstrom\n{_WATER}end\nset geometry mine\n", 3),
    "the same geometry twice": _deck(f"geometry\n He 0 0 0\nend\ngeometry\n{_WATER}end\n", None),
    "an adjusted geometry": _deck(
        f"geometry\n{_WATER}end\ngeometry adjust\n zcoord\n bond 1 2 0.98 oh\n end\nend\n", None
    ),
    "a crystal": _water("", None, rows=" system molecule\n" + _WATER),
    "one atom": _deck("geometry\n He 0 0 0\nend\n", 1),
    "atoms behind semicolons": _deck("geometry; O 0 0 0.117; H 0 0.757 -0.47; H 0 -0.757 -0.47; end\n", 3),
    "a continued line": _deck(
        "geometry \\\n units angstrom\n O 0 0 \\\n 0.117\n H 0 0.757 -0.47\n H 0 -0.757 -0.47\nend\n", 3
    ),
    "comments between atoms": _water("", rows="# an O\n O 0 0 0.117 # here\n\n H 0 0.757 -0.47\n H 0 -0.757 -0.47\n"),
    "a vast molecule": _deck("geometry\n H 0 0 0\n H 0 0 2000\nend\n", 2),
    "too few columns": _water("", rows=" O 0 0\n H 0 0.757 -0.47\n H 0 -0.757 -0.47\n"),
    "no end": Variant(b"start v\ngeometry\n H 0 0 0\n H 0 0 0.74\ntask scf\n", None),
    "an odd number of electrons": _deck("geometry\n H 0 0 0\nend\n", 1),
    "a charge": _deck(H2.replace("H 0 0 0\n", "He 0 0 0\n"), 2, before="charge 1\n"),
    "isotopes": _water("", rows=" O 0 0 0.117\n D 0 0.757 -0.47\n T 0 -0.757 -0.47\n"),
}
TEXTS = {
    "a title of a composite method": _h2(before='title "MP2/6-31g//HF/6-31g and /scratch kept"\n'),
    "a title without quotes": _h2(before="title water\n"),
    "a title of several words without quotes": _h2(before="title water in a box\n"),
    "a title of directives": _h2(before='title "task shell; include /etc/passwd; python"\n'),
    "a title over several lines": _h2(before="title \"first \\\nsecond\"\n"),
    "a title of paths in another place": _h2(after='title "~/data and ../x"\n'),
    "comments of paths": _h2(before="# see /home/me/x and ../y //\n"),
    "an ecce file": _h2(before="ecce_print ecce.out\n"),
    "an echo": _h2(before="echo\n"),
    "print lines": _h2(before='print low "final vectors" "task time"\nprint high\nprint medium\n'),
    "print none": _h2(before="print none\n"),
    "noprint": _h2(after='scf; noprint "final vectors analysis" multipole; end\n'),
    "umlauts in latin-1": _h2(before='# Länge in Å, geprüft\ntitle "Größe"\n'),
    "carriage returns": Variant(_h2().deck.replace(b"\n", b"\r\n"), 2),
    "carriage returns alone": Variant(_h2().deck.replace(b"\n", b"\r"), 2),
    "a form feed on a line of its own": Variant(b"\x0c\n" + _h2().deck, 2),
    "a form feed before a word": Variant(_h2().deck.replace(b"task", b"\x0ctask"), 2),
    "a form feed in a comment": Variant(b"# page\x0c\n" + _h2().deck, 2),
    "a form feed behind a word": Variant(_h2().deck.replace(b"0.74", b"0.74\x0c"), 2),
    "a form feed in a title": _h2(before='title "page\x0ctwo"\n'),
    "a vertical tab in a text": _h2(before='set my:note "a\x0bb"\n'),
    "a form feed in a tag": _deck("geometry\n H\x0c1 0 0 0\n H 0 0 0.74\nend\n", 2),
    "an end mark of DOS": Variant(_h2().deck + b"\x1a", 2),
    "an end mark of DOS behind a newline": Variant(_h2().deck + b"\n\x1a\n", 2),
    "no newline at the end": Variant(_h2().deck.rstrip(b"\n"), 2),
    "a long comment": _h2(before=f"# {'x' * 3000}\n"),
    "a long title": _h2(before=f'title "{"x" * 200}"\n'),
    "blanks to the right": Variant(_h2().deck.replace(b"\n", b" " * 1500 + b"\n"), 2),
    "capitals": Variant(_h2().deck.upper(), 2),
    "everything on one line": Variant(b"start v; geometry; H 0 0 0; H 0 0 0.74; end; basis; * library sto-3g; end; task scf\n", 2),
    "text behind the end": Variant(_h2().deck + b".\n/etc/passwd ../x python\n", 2),
    "a folder of its own": _h2(before="scratch_dir ./\npermanent_dir .\n"),
    "a folder elsewhere": _h2(before="scratch_dir /tmp/nowhere\n"),
    "orbitals in the folder": _h2(after="scf; vectors input atomic output ./v.movecs; end\n"),
    "a dotted path that stays": _h2(after="scf; vectors output ./a/../v.movecs; end\n"),
    "a set of a string": _h2(before='set my:note string "x"\n'),
    "a set with a double slash": _h2(before='set my:note "a//b"\n'),
    "a set with a slash": _h2(before='set my:note "1/2 and 3/4"\n'),
    "an unset": _h2(after="unset scf:converged\n"),
    "stop behind the task": Variant(_h2().deck + b"stop\n", 2),
    "a memory line": _h2(before="memory stack 100 mb heap 20 mb global 100 mb noverify\n"),
    "a memory line without unit": _h2(before="memory 1000\n"),
    "an included file": _deck(H2, None, before="include more.inc\n", more_inc="# nothing\n"),
    "no start": Variant(_h2().deck.replace(b"start v\n", b""), 2),
    "no start and no title": Variant(H2.encode() + _BASIS.encode() + END.encode(), 2),
    "an open quote in the last comment": Variant(_h2().deck + b'# "\n', 2),
    "an apostrophe in a title": _h2(before="title \"Schrödinger's\"\n".replace("ö", "o")),
    "a backslash in a title": _h2(before='title "a\\\\b"\n'),
    "a tag that is a directive": _deck("geometry\n H 0 0 0\n H 0 0 0.74\nend\n", 2, after="charge 0\n"),
    "a basis by its file": _h2(basis='basis "ao basis" spherical print\n H library "sto-3g"\nend\n'),
    "a basis from a path": _h2(basis="basis\n H library sto-3g file ./\nend\n"),
}  # fmt: skip
# What NWChem 7.0.2 stops at; all others run to their end.
STOPPED = frozenset(
    {
        "unknown units", "no element", "isotopes", "a point charge", "a loaded file that is not there", "a crystal",
        "too few columns", "no end", "an odd number of electrons", "a title of several words without quotes",
        "a title of directives", "a form feed on a line of its own", "a form feed before a word",
        "a form feed behind a word",
        "an end mark of DOS", "an end mark of DOS behind a newline", "a dotted path that stays", "stop behind the task",
        "a memory line without unit", "a basis from a path",
    }
)  # fmt: skip
# Those of them that are refused before they run.
REFUSED = {
    "a title of directives": "input_error",
    "a form feed on a line of its own": "deck_escapes",
    "a form feed before a word": "no_task",
    "an end mark of DOS": "deck_escapes",
    "an end mark of DOS behind a newline": "deck_escapes",
    "a dotted path that stays": "deck_escapes",
    "a memory line without unit": "memory_spec_invalid",
}
