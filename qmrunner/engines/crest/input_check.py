"""Checks that a CREST run stays in its folder and starts only its own programs (see `engines.input_check`).

CREST puts its arguments and file names into shell commands, calls any program that `-xnam` names, and reads TOML files
whose keys can name programs, scripts and a server (source of 2.12 and 3.0.2).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qmrunner.engines.input_check import Finding, arguments, escapes, listed, words
from qmrunner.engines.xtb import input_check as xtb

_PROGRAM = "starts another program"
_OPTIONS = {
    "xnam": _PROGRAM,
    "scratch": "works in another directory; the attempt's is on scratch already",
    "sandbox": "runs experimental code",
    "playground": "runs experimental code",
    "test": "runs experimental code",
    "oniom": "reads a file whose programs are not checked",
    "dftrc": "reads a file whose programs are not checked",
    "qmdff": _PROGRAM,
    "xtbiff": _PROGRAM,
    "v1": _PROGRAM,
    "prop": _PROGRAM,
    "gxtb": _PROGRAM,
    "gxtb_dev": _PROGRAM,
}
# Options that 2.12 and 3.0.2 know and conformer searches use; a file name after one of them must be a plain name.
_KNOWN = listed(
    "v2 v2i v3 v4 mdopt purge screen mdsp ensemblesp compare protonate deprotonate tautomerize rrhoav sp opt optlev"
    " optimize ancopt ohess hess numhess trialopt dynamics dyn legacy newversion mdtemp quick shake tstep vbdump mdskip"
    " mddump nomtd restartopt norotmd rotmd tnmd gcmopt gcsopt nogcmopt nci squick superquick mquick megaquick"
    " extensive static staticmtd mrest iru keepdir keeptmp singlerun iso dry nozs zs nocross cross loose veryloose"
    " vloose tight gfn gfn1 gfn2 gfn0 gff gfnff gfn2@gfn0 gfn2@gfn1 gfn2@gff gfn2@ff gfn2@gfnff gfn2//gfnff refine rsp"
    " ropt charges dscal dispscal norestart readbias useonly gbsa g alpb chrg uhf len mdlen mdtime mdscal lenscal nmtd"
    " gcmax niceprint origin constrain nocbonds cbonds cbonds_md cbonds_ez cmetal cmetal_md cheavy fixheavy cheavy_md"
    " clight fixhyd clight_md cfile cinp C c fc forceconstant nomlo normmd rmsdpot gesc mergebias gescopt gescheavy"
    " heavygesc rthr2 kshift hflip noflip maxflip osdf wscal wpad watoms wat wall wallxl wallxxl T P parallel inplace"
    " cregen maxcomp ewin rthr ethr bthr allrot athr pthr eqv zsort metac esort nowr eqan noeqan rot nmr fullcre heavy"
    " temp prsc noprsc subrmsd noopt topo topocheck notopo notopocheck noreftopo ezcheck checkez noezcheck nocheckez"
    " swel relax trev tdp iter strict verystrict vstrict fstrict entropy entropic scthr ssthr avbhess avchess printpop"
    " noref pcap ptot ithr rotorcut sthr fscal trange nopreopt freqscal ncimtd md mtd samerand cluster pccap nopcmin"
    " pctype pctyp hardcut version h help input i etemp"
)
_TOML_KNOWN = listed(
    "calculation calc level method gfn uhf multiplicity chrg charge id maxscc etemp accuracy weight gbsa alpb cpcm"
    " refine refinement sp singlepoint opt optimization refgeo refxyz refchrg refcharges topo reftopo print rdwbo"
    " optlev ancopt_level converge_e ethr_opt converge_g gthr_opt rmsforce maxerise displ_opt maxdispl hguess maxcycle"
    " type hess_update hupdate opt_engine opt_algo freeze fc k forceconstant atoms ref val wscal bond bonds dihedral"
    " sphere ellipsoid angle distance constraint constraints dynamics md metadynamics mtd active active_levels"
    " includermsd excludermsd length length_ps dump hmass tstep t temp temperature shake printstep blocklength restart"
    " alpha kpush dump_fs dump_ps ramp threads parallel runtype ensemble_input ensemble input_ensemble input structure"
    " wat preopt noopt notopo multilevelopt cregen thermo ewin ethr rthr bthr eqv nmr ithr freq_ithr freq_invert fscal"
    " freq_scal sthr trange solvent elog dumpq dumpchrg kscal elements coords rmsd"
)
_TOML_METHODS = listed(
    "tblite gfn2 gfn2-xtb gfn1 gfn1-xtb gfn0 gfn0-xtb gfn0* gfn0*-xtb gfnff gff gfn-ff ceh none lj lennard-jones"
    " gfn-xtb"
)

_SAFE = re.compile(r"[\w.,:+@%=/-]*")
# CREST copies `flags` and the `sys` keys unchanged into a shell command.
_KEYS = ("bin", "binary", "script", "flags", "sys", "syscall", "systemcall", "cmd", "orca_cmd", "orca_template",
         "confsolv", "port", "scratch", "scratchdir", "model_path")  # fmt: skip
_METHODS = ("generic", "orca", "turbomole", "tm", "terachem", "gxtb", "gxtb_dev")
_TOML_REMEDY = "keep only keys that set numbers, methods of xTB and plain file names"
_INPUTS = ("input", "i")


def findings(args: Sequence[str], files: Mapping[str, bytes], *, strict: bool = False) -> list[Finding]:
    """Parts of the arguments and of the submitted files (by name) that would leave the folder or start a program.

    `strict`: only this check confines the run, so options, blocks and keys that are not known to be harmless are
    refused, too.
    """
    found = arguments("crest", args, _OPTIONS, _SAFE, _KNOWN if strict else None)
    found += xtb.instructions(files, strict=strict)
    for name, data in files.items():
        if name.lower().endswith(".toml"):
            found += _of_toml(name, data, strict)
    for option, value in pairwise(args):
        if option.lstrip("-") in _INPUTS and not value.lower().endswith(".toml"):
            reason, remedy = "is read as TOML, but has another file extension", "give the input file the ending .toml"
            found.append(Finding("the arguments of crest", None, value, reason, remedy))
    return found


def _of_toml(name: str, data: bytes, strict: bool) -> list[Finding]:
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return [Finding(name, None, str(error), "is not valid TOML, so it cannot be checked", "write it as TOML 1.0")]
    found = []
    for key, value in _entries(content):
        text = f"{key} = {value}"
        word = str(value).strip().lower()
        if key in _KEYS or (isinstance(value, str) and word in _METHODS):
            found.append(Finding(name, None, text, _PROGRAM, _TOML_REMEDY))
        elif isinstance(value, str) and not _SAFE.fullmatch(value.replace(" ", "")):
            found.append(Finding(name, None, text, "contains a character with a meaning to a shell", _TOML_REMEDY))
        elif isinstance(value, str) and any(escapes(word) for word in words(value)):
            found.append(Finding(name, None, text, "names a file outside the job's folder", _TOML_REMEDY))
        elif strict and (key not in _TOML_KNOWN or (key == "method" and word not in _TOML_METHODS)):
            found.append(Finding(name, None, text, "is not among the keys that are known to be harmless", _TOML_REMEDY))
    return found


def _entries(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key in lower case with its value, including those in tables and lists.

    Fortran ignores blanks at the end of what it compares: `"bin "` may be `bin` to CREST.
    """
    if isinstance(content, Mapping):
        for name, value in content.items():
            plain = name.strip().lower()
            yield plain, value
            yield from _entries(value, plain)
    elif isinstance(content, list):
        for value in content:
            if not isinstance(value, Mapping):
                yield key, value
            yield from _entries(value, key)
