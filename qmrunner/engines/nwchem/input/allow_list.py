"""Directives, by module, that a deck may have if only the check confines the engine; all others are refused.

The words are those that the input readers of NWChem 7.0.2 know, without those that start a program, open a connection,
change the place of files or read a file that contains file names. A file name after an allowed word must be a plain
name (`nwchem.input_check`). No word allowed within a block is more dangerous outside of it, nor the reverse: an
attacker gains nothing by making NWChem leave a block earlier or later than this check expects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from qmrunner.engines.input_check import listed
from qmrunner.engines.nwchem.input.reader import Statement, lower

LINES = listed(
    "task title charge qcharge memory start restart echo print noprint set unset stop time ecce_print"
    " scratch_dir permanent_dir include"
)
_SCF = (
    "adapt sym auto coulomb diis diisbas nodiis direct disk semidirect doublet singlet triplet quartet quintet sextet"
    " septet octet nopen rhf rohf uhf level lock maxiter maxsub nr pcg full hessian preconverge profile thresh tol2e"
    " tolnr ri-scf vectors chunk taskbf cando_txs lagrangian noscf"
)
_DFT = (
    "adapt sym alpha auto beta b3lyp cam cam_alpha cam_beta cdft cgmin nocgmin convergence cs00 lb94 ncap decomp"
    " dftmp2 direct disp xdm vdw electrons ecp efield filled fon fukui full hessian grid incore semidirect iterations"
    " lock max_ovl maxiter mulliken mult multiplicity nofixsz fixsz noio odft rodft onlyc partial preconverge ri-scf"
    " rohf sic smear spherical steric swapab tolerances tol2e vectors vspec xc nexcite_win molden noscf"
)
_TCE = (
    "2emet 2eorb 2espin active_oa active_ob active_va active_vb alpha attilesize beta bwccsd cc2 ccd ccsd ccsd(2)"
    " ccsd(2)_t ccsd(2)_tq ccsd(t) ccsd[t] ccsd_act ccsdt ccsdt(2)_q ccsdta ccsdtq cis cisd cisdt cisdtq cr-ccsd(t)"
    " cr-ccsd[t] cr-lccsd(t) cr-qcisd(t) creom(t)ac creomsd(t) cuda dft diis diis2 diis3 dipole eaccsd eionly eomsol"
    " fock freeze hf idiskx io ipccsd lambda-ccsd(t) lambda-ccsd[t] lccd lccsd lccsd(t) lr-ccsd lr-ccsd(t) lshift"
    " lshift2 lshift3 maxdiff maxiter mbpt2 mbpt3 mbpt4 mbpt4(sdq) mbpt4sdq(t) mkccsd mp2 mp3 mp4 mp4sdq mp4sdq(t)"
    " multipole nofock nroots oact"
    " octupole polar qcisd qcisd(t) quadrupole r-creom1(t) r-creom2(t) scf split symmetry t3a_lvl target targetsym"
    " tceprop thresh tilesize uact cr-eomccsd(t) densmat emin_act emax_act"
)
_TCE_NAMES = (
    "tce ucc uci ump umbpt uccd ulccd uccsd ulccsd uqcisd uccsdt uccsdtq ucisd ucisdt ucisdtq ump2 ump3 ump4 umbpt2"
    " umbpt3 umbpt4"
)
_PROPERTY = (
    "aimfile all aoresponse arb bdtensor boyslocalization center coc com convergence damping dipole efgfile"
    " efield efieldgrad efieldgradz4 efieldgradmap efieldmap electrondensity electrondensitymap esp espiso giao gprime"
    " grid gshift gshiftfile hyperfine hypfile iso magneticpert molden_norm moldenfile mulliken nbofile ngrid octupole"
    " orbeta origin output pad pmlocalization polfromsos quadrupole response rmax rmin shielding shldfile spindensity"
    " spindensitymap spinpopulation spinspin step stoneanalysis tol vectors velocity atoms"
)
# The words of each block. None: atoms, basis functions and variables in it have free names.
BLOCKS: dict[str, frozenset[str] | None] = {
    name: words if words is None else listed(f"{words} print noprint")
    for names, words in {
        "geometry basis ecp so": None,
        "scf": _SCF,
        "dft": _DFT,
        _TCE_NAMES: _TCE,
        "property": _PROPERTY,
        "mp2": "aotol2e file3c fos freeze fss motol2e riapprox scratchdisk scs noscs tight vectors",
        "ccsd": "diisbas fos fss freeze iprt maxiter nodisk thresh tol2e doa dob dod dog doh dojk dos",
        "mcscf": "actelec active hessian inactive level lock maxiter multiplicity profile state symmetry thresh tol2e"
        " vectors",
        "tddft": "algorithm alpha beta cdspectrum cis civecs diff_max ecut ewin freeze giao gmh grad gradient kdavidson"
        " lanczos maxiter maxvecs nosinglet notriplet nroots occtop polar root rpa simpleso singlet solve_thresh"
        " symmetry target targetsym tda thresh transden trials triplet velocity velreverse",
        "cosmo": "charge_correction dielec dielecinf do_cosmo_ks do_cosmo_smd do_cosmo_vem do_cosmo_yk do_gasphase"
        " gamma_s ificos ifscrn iscren lagrangian lineq maxbem minbem off parameters poles_cosmo_vem polgs_cosmo_vem"
        " radius rsolv screen sola solb solc solg solh soln solvent sw_tol zeta",
        "driver": "ascale bscale clear cvgopt default deloc diagonal_hessian eprec firstneg nofirstneg gmax grms hscale"
        " inhess lbfgs linopt loose maxiter mh moddir modsad modupd noqstep noxyz nptopt qstep redoautoz sadstp thresh"
        " tight trust tscale vardir xmax xrms xyz",
        "stepper": "convge convgg convggm fdat fdopt maxiter min mwc nmode rconvg rpath rstd seco select std swfir"
        " swsec track trot trtr trust ts",
        "freq vib": "animate brillouin_zone dispersion fd_delta mass overwrite reuse temp temperature",
        "hessian": "profile thresh",
        "dplot": "civecs densmat dos gaussian limitxyz orbitals output root spin title tol_rho transden units"
        " vectors where",
        "esp": "constrain dump equal factor group harmonic hfree hyperbolic increase maxcon maxiter probe qh radius"
        " range recalculate restrain screen spacing tolerance xhn",
        "bq": "charges clear coords force load noforce scale",
        "constraints": "atom bond clear dihedral disable enable fix penalty spring unfix",
        "relativistic": "cgmin clight douglas-kroll dyall-mod-dirac modelpotential x2c zora zora:cutoff zora:cutoff_nmr"
        " zora:cutoff_efg",
        "gradients gradient grad": "",
    }.items()
    for name in names.split()
}  # fmt: skip
# Blocks within blocks, by the block and the word that begins it.
_WITHIN = frozenset(
    [*(("geometry", word) for word in ("zmatrix", "zmat", "zmt", "zcoord", "system")), ("tddft", "grad"),
     ("tddft", "gradient")]
)  # fmt: skip
# Directives of NWChem that are not allowed, so that none of them is accepted as the name of an atom.
NEVER = listed(
    "python speech md argos prepare analysis analyze diana smd rism qmmm mm dntmc drdy dirdyvtst drdy_nwchem nwpw pspw"
    " dimqm dimpar oniom mymd mymc rt_tddft et raman ccca vscf nbo neb string zts mepgs tropt qmd bsse occup integral"
    " intgrl pause mrccdata server socket continue load_library"
)
_TASKS = listed(
    "scf dft sodft mp2 direct_mp2 rimp2 dftmp2 ccsd ccsd(t) ccsd+t(ccsd) mcscf tce tddft esp dplot property cosmo"
    " energy gradient optimize saddle hessian freq frequencies numerical analytic ignore"
    f" {_TCE_NAMES}"
)
_KEYS = re.compile(
    r"(scf|dft|mp2|direct_mp2|ccsd|tce|mcscf|tddft|driver|stepper|hess|hessian|cphf|prop|cosmo|geometry|basis|int|grid"
    r"|movecs|lindep|fock|fmm|cgmin|aoints|bas|sym|quickguess|freq|vib|stpr_gen|dplot|esp|diis|atomscf|relativistic"
    r"|moints|fourindex|gradients?|trials|2eorb|2emet|selci|sodft|geom|gen_hess|tng"
    # Numbers and switches alone, by their uses in the source.
    r"|zora|x2c|doug_kroll|modelpotential|grad_dk|giao|aoresponse|spinspin|hfine|efgz4|tddft_grad|simpleso|fastj|cons"
    r"|fock_xc|fock_j|lkain|cgsd|intd|intdd|ecp|focc|molden|loadbalancing)(:[\w :.+*()-]+)?"
    r"|tolguess|timelimit|cgmin|quickguess|geometry|bq|constraints|(large|small) component|so potential"
    r"|(ao|cd|xc|ri-mp2|riscf|ecp|mp2|ri) basis|nuclear charge|charge|title",
    re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([edED][-+]?\d+)?|\d+:\d+(:\d+)?")
_NAME = re.compile(r"[\w*'.+:^-]+", re.ASCII)
_REMEDY = "leave it out, or run it on a machine whose kernel confines engines (see `qmrunner doctor`)"


class AllowList:
    """Checks that all statements of a deck, in order, are known to be harmless."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def refused(self, statement: Statement) -> tuple[str, str] | None:
        """Reason and remedy for a statement that is not allowed at its place; None for an allowed one."""
        directive = statement.directive
        if not statement.words or statement.broken:
            return (
                "is not a directive that can be checked",
                "close the quotes, and remove empty statements between two `;`",
            )
        if directive in NEVER:
            return _unknown(f"`{directive}`")
        return self._within(self._open[-1], directive) if self._open else self._outside(statement)

    def _outside(self, statement: Statement) -> tuple[str, str] | None:
        directive, words = statement.directive, [lower(word.strip()) for word in statement.words[1:]]
        if directive in BLOCKS:
            self._open.append(directive)
            return None
        if directive not in LINES:
            return _unknown(f"`{directive}`")
        if directive == "task":
            unknown = _first(word for word in words if word not in _TASKS)
            return _unknown(f"the task `{unknown}`") if unknown is not None else None
        if directive == "set" and words and not _KEYS.fullmatch(words[0]):
            return _unknown(f"the key `{words[0]}`")
        return None

    def _within(self, block: str, directive: str) -> tuple[str, str] | None:
        if directive == "end":
            self._open.pop()
            return None
        known = BLOCKS[block]
        if (block, directive) in _WITHIN:
            self._open.append(block)
        elif known is None and _NAME.fullmatch(directive):
            return None
        elif known is not None and directive not in known and not _NUMBER.fullmatch(directive):
            return _unknown(f"`{directive}` of `{block}`")
        elif known is None:
            return f"`{directive}` is not the name of an atom or a variable", _REMEDY
        return None


def _unknown(what: str) -> tuple[str, str]:
    return f"{what} is not known to be harmless", _REMEDY


def _first(words: Iterable[str]) -> str | None:
    return next(iter(words), None)
