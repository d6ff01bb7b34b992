"""Checks of the engines: installed, built for this machine, complete, and NWChem matching its MPI launcher."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qmrunner.doctor.finding import Finding, fail, ok, warn
from qmrunner.engines import INSTALL
from qmrunner.engines.base import Installed

# e_machine of an ELF header and the kernel's word for it. Source: elf.h, uname(2).
_MACHINES = {
    3: "i686", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "armv7l", 62: "x86_64", 183: "aarch64",
    243: "riscv64", 258: "loongarch64",
}  # fmt: skip
_SAME = {"i386": "i686", "i586": "i686", "ppc64le": "ppc64", "armv8l": "aarch64", "arm64": "aarch64"}
_FULL_NAMES = {"nwchem": "NWChem", "xtb": "xTB", "crest": "CREST"}
_BASIS_SETS = ("6-31gs", "6-31g*", "6-31g_st_")
_LIBRARIES = ("libraries.bse", "libraries")
_LIBRARY = "NWCHEM_BASIS_LIBRARY"


def machine_of(header: bytes) -> str | None:
    """The machine that a program with these first 20 bytes is built for; None when it is not an ELF file."""
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return None
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")


def header_of(path: str) -> bytes:
    """The first bytes of a program. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(256)


def located(name: str, path: str | None, configured: str | None, here: Sequence[str]) -> Finding:
    """Was the program found, at `path`, and is it built for a machine that is `here`? Starts nothing."""
    full = _FULL_NAMES[name]
    if path is None:
        if not configured:
            return warn(name, "engine_missing", f"{full} is not installed", INSTALL[name])
        there = os.path.exists(configured)
        why = "cannot be executed" if there else "does not exist"
        cure = f"run `chmod +x {configured}`" if there else f"correct QMRUNNER_{name.upper()}, or {INSTALL[name]}"
        return fail(name, "engine_missing", f"QMRUNNER_{name.upper()}={configured} {why}", cure)
    return _built_for(name, path, here) or ok(name, path, path=path)


def machines_here() -> tuple[str, ...]:
    """The kernel's machine, and that of this Python: a 32-bit system may run on a 64-bit kernel."""
    kernel = os.uname().machine
    own = machine_of(header_of("/proc/self/exe"))
    return tuple(dict.fromkeys(_SAME.get(machine, machine) for machine in (kernel, own) if machine))


def _built_for(name: str, path: str, here: Sequence[str]) -> Finding | None:
    try:
        header = header_of(path)
    except PermissionError:
        return None  # executable but not readable: the probe of the running program decides
    built = machine_of(header)
    if built is not None and built not in here and not (built == "i686" and "x86_64" in here):
        text = f"{path} is built for {built}, this machine is {' or '.join(here)} (Exec format error)"
        return fail(name, "exec_format", text, "install the build for this machine", path=path, built_for=built)
    script = re.match(rb"#!\s*(\S+)", header)
    if script and not os.path.exists(script[1]):
        text = f"{path} is a script for {os.fsdecode(script[1])}, which does not exist"
        return fail(name, "engine_missing", text, "install that interpreter", path=path)
    if built is None and not script:
        text = f"{path} is neither a program nor a script"
        return fail(name, "exec_format", text, "reinstall it: the file is damaged", path=path)
    return None


def answers(name: str, found: Installed) -> Finding:
    """The result of probing the program. `found` is the answer of `host.probe`."""
    full, data = _FULL_NAMES[name], {"path": found.path, "version": found.version}
    missing: Sequence[str] = found.facts.get("libraries_missing", ())
    if missing:
        text = f"{found.path} needs missing libraries: {', '.join(missing)}"
        cure = "install the packages that contain them, or set LD_LIBRARY_PATH"
        return fail(name, "library_broken", text, cure, **data)
    if found.version is None:
        printed = found.facts.get("said")
        text = f"{found.path} does not report its version" + (f"; it printed: {printed}" if printed else "")
        return fail(name, "engine_broken", text, f"try `{found.path} --version`, then install it again", **data)
    return ok(name, f"{full} {found.version} at {found.path}", **data)


def launcher(found: Installed) -> Finding:
    """NWChem's launcher: of a known kind, and of the MPI that NWChem was built with."""
    path, flavour = found.facts.get("mpirun"), found.facts.get("launcher_flavour")
    data = {"path": path, "flavour": flavour, "binary": found.facts.get("binary_flavour")}
    problem = found.facts.get("problem")
    if problem:
        code = "launcher_mismatch" if path else "launcher_missing"
        remedy = "set QMRUNNER_MPIRUN to the launcher of NWChem's own MPI (Debian: `apt-get install openmpi-bin`)"
        return fail("launcher", code, str(problem), remedy, **data)
    built = f"NWChem is built for {data['binary']}" if data["binary"] else "NWChem is linked statically"
    return ok("launcher", f"{found.facts.get('launcher_version')} at {path}; {built}", **data)


def launcher_options(flavour: str | None, variables: Mapping[str, str], uid: int) -> list[Finding]:
    """Binding, CMA and root, as `variables`, those composed for NWChem, decide them."""
    names = {
        "binding": {
            "openmpi4": "OMPI_MCA_hwloc_base_binding_policy",
            "openmpi5": "PRTE_MCA_hwloc_default_binding_policy",
            "mpich": "HYDRA_BINDING",
        },
        "cma": {"openmpi4": "OMPI_MCA_btl_vader_single_copy_mechanism", "openmpi5": "OMPI_MCA_smsc"},
    }
    why = {
        "binding": "ranks are not bound, so concurrent runs are not pinned to the same cores",
        "cma": "copies between ranks need no privileges",
    }
    found = []
    for name, of_flavour in names.items():
        variable = of_flavour.get(str(flavour))
        if variable:
            found.append(ok(name, f"{why[name]} ({variable}={variables[variable]})", variable=variable))
        elif name == "binding":
            text = "unknown launcher: binding, CMA and root cannot be checked"
            return [warn("binding", "launcher_unknown", text, "see `launcher` above")]
    allowed = "OMPI_ALLOW_RUN_AS_ROOT" in variables or flavour == "mpich"
    if uid != 0:
        found.append(ok("root", f"runs as user id {uid}, not as root", uid=uid))
    elif allowed:
        found.append(ok("root", "runs as root, which the launcher is set to allow", uid=uid))
    return found


def beside(binary: str) -> str | None:
    """The basis library installed with this NWChem, when it is where packages put it."""
    share = Path(binary).resolve().parent.parent / "share" / "nwchem"
    return next((str(share / name) for name in _LIBRARIES if (share / name).is_dir()), None)


def basis(given: str | None, installed: str | None, rc_files: Sequence[Path]) -> Finding:
    """NWChem's basis library, found in its own order: environment, rc files, the folder built in.

    `given` is NWCHEM_BASIS_LIBRARY of this process, `installed` the folder that came with the binary.
    """
    if given:
        return _library(f"{_LIBRARY}={given}", given, f"correct or unset {_LIBRARY}")
    for file in rc_files:
        named = _named_in(file)
        if named is None:
            continue
        if not named.endswith("/"):
            text = f"{file} names {named}: NWChem finds no basis set without a trailing slash"
            return fail("basis", "basis_library_missing", text, f"write `nwchem_basis_library {named}/` in that file")
        return _library(f"{file} names {named}", named, f"correct nwchem_basis_library in {file}")
    if installed:
        return _library(installed, installed, "reinstall NWChem's data (Debian: nwchem-data)")
    text = "no basis library is set in the environment or in a .nwchemrc: NWChem uses its built-in folder"
    return warn(
        "basis",
        "basis_library_unknown",
        text,
        f"set {_LIBRARY}, or run `qmrunner doctor --smoke` to see whether NWChem finds the basis",
    )


def _library(what: str, folder: str, remedy: str) -> Finding:
    data = {"folder": folder}
    try:
        names = {name.lower() for name in os.listdir(folder)}
    except OSError as problem:
        return fail("basis", "basis_library_missing", f"{what}: {problem.strerror}", remedy, **data)
    if not names.intersection(_BASIS_SETS):
        text = f"{what}: 6-31G* is not among the {len(names)} files there"
        return fail("basis", "basis_library_missing", text, remedy, **data)
    return ok("basis", f"{what}: {len(names)} files", **data)


def _named_in(file: Path) -> str | None:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return None  # missing or unreadable: NWChem would not read it either
    hit = re.search(r"^\s*nwchem_basis_library\s+(\S+)", text, re.MULTILINE | re.IGNORECASE)
    return hit[1] if hit else None


def chemistry(found: Installed) -> Finding:
    """The Python packages of the `nmr` extra."""
    versions = {name: found.facts.get(name) for name in ("rdkit", "numpy", "matplotlib")}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        text = f"{', '.join(missing)} not installed: jobs of kind nmr and conformers cannot run"
        return warn("chemistry", "engine_missing", text, INSTALL["chemistry"], **versions)
    return ok("chemistry", ", ".join(f"{name} {version}" for name, version in versions.items()), **versions)


def any_engine(names: Sequence[str], apps: bool) -> Finding:
    """`names`: the usable programs. `apps`: this worker runs Huey applications, whose tasks need none of them."""
    if not names and apps:
        text = "none of NWChem, xTB and CREST is usable here: only tasks of Huey applications can run"
        return ok("engines", text, usable=[])
    if not names:
        return fail(
            "engines", "no_engine", "none of NWChem, xTB and CREST is usable here: no job can run",
            f"{INSTALL['nwchem']}; {INSTALL['xtb']}",
        )  # fmt: skip
    return ok("engines", f"usable: {', '.join(names)}", usable=list(names))
