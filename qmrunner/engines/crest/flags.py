"""The flags of CREST 2.12, 3.0.2 and its master of November 2025 (`src/confparse.f90`), and which of them a run
echoes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines.flags import Flags, Kind, name_of
from qmrunner.engines.input_check import listed

_KNOWN = (
    "C GUI H P PLAYGROUND SANDBOX T TEST ab abcorr abprep acidbase addmd allrot alpb ancopt athr avbhess avchess"
    " blacklist bthr c cbonds cbonds_ez cbonds_md cfile charges cheavy cheavy_md checkez chrg cinp citation cite"
    " clight clight_md cluster cmetal cmetal_md compare compress constrain corr cregen cross debug deprotonate dftrc"
    " directed dispscal dispscal_global dry dscal dscal_global dyn dynamics ensemble ensemblesp enslvl enso entropic"
    " entropy entropy_cthr entropy_sthr eqan eqv esolv esort ethr ethrp ethrpurge ewin exchligand exlig exligand"
    " extensive exttautomerize ezcheck fc fin_opt_gfn2 fixheavy fixhyd fixsolute for forall forceconstant fragopt"
    " freqlvl freqscal fscal fstrict fullcre g gbsa gcmax gcmopt gcsopt gdissprep genmtd genpot gesc gesc+ gesc_heavy"
    " gescheavy gescopt gff gfn gfn0 gfn1 gfn2 gfn2//gfnff gfn2@ff gfn2@gff gfn2@gfn0 gfn2@gfn1 gfn2@gfnff gfnff grad"
    " grow gsolv gui gxtb gxtb_dev h hardcut heavy heavygesc help hess hflip hrmsd i inplace input iru iso isomerize"
    " iter ithr keepdir keepscratch keeptmp kow kshift legacy len lenscal logkow loose m maxcomp maxflip maxsolv md"
    " mddump mdlen mdopt mdscal mdskip mdsp mdtemp mdtime megaquick mergebias mergebias+ metac mquick mrest mscid msei"
    " msinchi msinput msiso mslargeprint msmolbar msnbonds msnfrag msnoattrh msnoiso msnshifts msnshifts2 msreact mtd"
    " mtd_kscal mtdkscal nci ncimtd nclus newversion niceprint nmr nmtd no-multilevel no_fin_opt_gfn2 nocbonds nocff"
    " nocheckez nocross noeqan noezcheck nofix noflip nogcmopt nograd nomd nomf nomlo nomtd noopt nopcmin nopreopt"
    " noprsc noref noreftopo norestart normdock normmd norotmd notopo notopocheck nowr nozs nsolv numhess ohess oldcr"
    " oldcregen opt optimize optlev origin osdf pKa parallel pcaex pcaexclude pcap pccap pclean pctyp pctype pka"
    " pkaensemble pkaparam pkaprep printaniso printboltz printpop prop protonate prsc pthr ptot purge qcg qcgmtd qdock"
    " qmdff quick reactor readbias redoextrapol ref refine relax resortensemble restartopt rmsd rmsdheavy rmsdpot ropt"
    " rot rotmd rotorcut rrhoav rsp rthr rthr2 samerand scratch screen scthr setgcmax shake singlerun solvtool sp"
    " splitfile squick ssthr static staticmtd stereomers sthr strict subrmsd superquick swel symmetries tautomerize"
    " tautomerize2 tdp temp testtopo texcl thermo thermotool tight tnmd topo topocheck trange tread trev trialopt"
    " tstep uhf useonly usewbo v1 v2 v2i v3 v4 vbdump version veryloose verystrict vloose vstrict wall wall-xl"
    " wall-xxl wallxl wallxxl wat watoms wbotopo wpad wscal xnam xtbiff zs zsort"
)
_INTEGERS = listed("T P parallel chrg uhf nmtd mrest maxcomp nsolv maxsolv nclus msnbonds msnshifts msnshifts2 msnfrag")
_NUMBERS = listed(
    "ewin rthr ethr bthr athr pthr temp tstep shake mddump mdskip vbdump mdtemp tnmd gcmax setgcmax mdscal lenscal"
    " freqscal iter wscal wpad mtd_kscal mtdkscal"
)
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_INTEGERS, "integer"),
    **dict.fromkeys(_NUMBERS, "number"),
    **dict.fromkeys(("len", "mdlen", "mdtime"), "length"),
}
FLAGS = Flags("crest", frozenset(_KNOWN.split()), _KINDS)

# Flags that 2.12 and 3.0.2 echo when they accept them, and the name in the echo; other flags are not echoed.
_ECHOED = {
    **{name: name for name in listed("alpb gbsa chrg uhf gfn0 gfn1 gfn2 gfnff ewin rthr ethr bthr athr pthr")},
    **{name: name for name in listed("mquick squick megaquick superquick nci nocross cinp")},
    **{"g": "gbsa", "gff": "gfnff", "cfile": "cinp"},
}
_BEGIN = "Command line input:"
# The echo is a few lines long; what follows begins with one of these.
_END = re.compile(r"^(> |  *-{5}|-{5})")
_ECHO = re.compile(r"^ {1,3}-{1,2}([A-Za-z][^ :]*)")
_MOST_LINES = 400


def not_taken(args: Sequence[str], log: Path) -> tuple[str, ...]:
    """Notes on flags that the run did not echo below "Command line input": flags that it always echoes, and flags
    unknown to this table. No notes if the log has no echo."""
    echoed = _echo(log)
    if echoed is None:
        return ()
    names = [name for word in args if (name := name_of(word)) is not None]
    missing = [name for name in names if _ECHOED.get(name, "" if name in FLAGS.known else name) not in {"", *echoed}]
    return tuple(
        f"crest did not echo --{name} below {_BEGIN!r}: it most likely ignored the flag"
        for name in dict.fromkeys(missing)
    )


def _echo(log: Path) -> set[str] | None:
    found: set[str] | None = None
    with_echo = 0
    try:
        for line in untrusted.lines(log):
            if found is None:
                found = set() if line.strip() == _BEGIN else None
                continue
            with_echo += 1
            if (_END.match(line) and with_echo > 1) or with_echo > _MOST_LINES:
                break
            if hit := _ECHO.match(line):
                found.add(hit[1])
    except FileNotFoundError:
        return None
    return found
