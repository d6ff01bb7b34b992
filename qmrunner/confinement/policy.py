"""Converts the needs of an engine (`Reach`) into what the kernel allows it (`landlock.Policy`).

An engine writes in its attempt's `work` folder only. It reads the system's libraries and data, its own, and `work`. It
executes its own programs only. The network is closed except for the ports that its launcher needs.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qmrunner.guardian import landlock, seccomp
from qmrunner.model.jobs import Reach
from qmrunner.settings import Settings

_SYSTEM = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/share", "/usr/local/lib",
    "/usr/local/share", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload",
    "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/host.conf", "/etc/localtime",
    "/etc/timezone", "/etc/locale.alias", "/etc/openmpi", "/etc/pmix", "/etc/nwchemrc", "/etc/fonts", "/etc/mime.types",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/version", "/proc/filesystems",
    "/proc/sys",
    "/sys/devices", "/sys/class", "/sys/bus", "/sys/fs/cgroup", "/sys/kernel/mm",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SHARED_MEMORY = "/dev/shm"
_LISTED = "/dev"
# Folders of programs that a script may call, because its needs are unknown.
_SYSTEM_PROGRAMS = ("/bin", "/usr/bin", "/usr/local/bin")
# If a folder holds more than programs, only these subfolders belong to a program in its `bin`.
_BELOW_PREFIX = ("lib", "lib64", "libexec", "share", "etc")
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")
# Variables of an engine that name folders it reads.
_FOLDER_VARIABLES = (
    "NWCHEM_BASIS_LIBRARY", "NWCHEM_NWPW_LIBRARY", "LD_LIBRARY_PATH", "OPAL_PREFIX", "PMIX_PREFIX", "PRTE_PREFIX",
    "XTBPATH",
)  # fmt: skip
_PT_INTERP = 3
_LONGEST_HEAD = 4096
_DEEPEST_SCRIPT = 4


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this kernel can confine. `abi` is None without Landlock, `problem` is then the reason."""

    abi: int | None
    seccomp: bool
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """Whether it can confine everything that untrusted input could reach: files, programs and the network."""
        return self.abi is not None and self.abi >= landlock.TCP_ABI and self.seccomp

    @property
    def words(self) -> str:
        """`landlock ABI 7, seccomp`, or what is missing."""
        if self.abi is None:
            return f"no Landlock ({self.problem})"
        return f"landlock ABI {self.abi}" + (", seccomp" if self.seccomp else ", no seccomp filter")


_WHY = {
    errno.ENOSYS: "the kernel is older than 5.13 or was built without it",
    errno.EOPNOTSUPP: "it was not enabled at boot",
    errno.EPERM: "a seccomp profile refuses the calls, as Docker's did before version 23",
}


def holds(settings: Settings) -> bool:
    """Whether the kernel alone is enough for engines that run inputs from the network."""
    return settings.confine != "off" and kernel().holds


def kernel() -> Kernel:
    """What this kernel grants to this process."""
    try:
        version = landlock.abi()
    except OSError as error:
        return Kernel(None, False, _WHY.get(error.errno or 0, error.strerror))
    return Kernel(version, seccomp.supported())


@dataclass(frozen=True, slots=True)
class Confinement:
    """How one attempt is confined. `variables` are added to its environment; `notes` are recorded."""

    policy: landlock.Policy | None
    network: bool
    local_ipc: bool
    variables: Mapping[str, str]
    notes: tuple[str, ...]


def open_to_all(why: str) -> Confinement:
    """No confinement by the kernel, and why."""
    return Confinement(None, True, True, {}, (f"confinement: none, {why}",))


def confine(
    reach: Reach, work: Path, environment: Mapping[str, str], settings: Settings, granted: Kernel
) -> Confinement:
    """The policy for a process tree that works in `work`. `granted.abi` is not None."""
    programs = [_Program.of(path) for name in reach.programs if (path := _path_of(name, environment))]
    # A link to a program may be in another installation, like `python` in a virtual environment.
    links = [os.path.dirname(os.path.dirname(name)) for name in reach.programs if "/" in name]
    kept_out = _kept_out(settings)
    scripts = [program.path for program in programs if program.is_script]
    extra = [str(path) for path in settings.confine_allow]
    read = [*_SYSTEM, *extra]
    for program in programs:
        read += [program.path, *program.interpreters, *_allowed(program.data(), kept_out)]
    read += _allowed((*reach.data, *links, *_folders_of(environment)), kept_out)
    execute = [path for program in programs for path in (program.path, *program.interpreters)] + extra
    if scripts:
        shims = [*_allowed((folder for program in programs for folder in program.shims()), kept_out)]
        read += [*_SYSTEM_PROGRAMS, *shims]
        execute += [*_SYSTEM_PROGRAMS, *shims]
    ports = _free_ports(len(reach.ports))
    policy = landlock.Policy(
        read=_unique(read),
        write=(str(work), *((_SHARED_MEMORY,) if reach.shared_memory else ())),
        execute=_unique(execute),
        devices=_DEVICES,
        listed=(_LISTED, *reach.listed),
        ports=None if reach.any_port else ports,
    )
    notes = [f"confinement: {granted.words}"]
    notes += [f"confinement: {path} is a script, so that it may execute the system's programs" for path in scripts]
    variables = dict(zip(reach.ports, map(str, ports), strict=True))
    network = reach.any_port or bool(ports)
    return Confinement(policy, network, reach.local_ipc, variables, tuple(notes))


def _unique(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _path_of(name: str, environment: Mapping[str, str]) -> str | None:
    found = name if "/" in name else shutil.which(name, path=environment.get("PATH"))
    return os.path.realpath(found) if found and os.path.exists(found) else None


def _kept_out(settings: Settings) -> tuple[Path, ...]:
    """Folders that no engine may read, whatever contains them."""
    own = (settings.home, settings.jobs_root, settings.scratch_root, settings.logs_root, settings.run_root)
    return tuple(Path(os.path.realpath(path)) for path in (*own, Path.home()))


def _allowed(folders: Iterable[str], kept_out: tuple[Path, ...]) -> Iterator[str]:
    """The given `folders`; of a folder that contains one in `kept_out`, only the parts that belong to programs."""
    for folder in folders:
        real = Path(os.path.realpath(folder))
        if str(real) in _SHARED_PREFIXES or any(real == closed or real in closed.parents for closed in kept_out):
            below = (real / name for name in _BELOW_PREFIX)
            yield from (str(path) for path in below if not any(path == k or k in path.parents for k in kept_out))
        else:
            yield str(real)


def _folders_of(environment: Mapping[str, str]) -> Iterator[str]:
    for name in _FOLDER_VARIABLES:
        yield from (folder for folder in environment.get(name, "").split(":") if folder.startswith("/"))


def _free_ports(count: int) -> tuple[int, ...]:
    """Different TCP ports that are free now on all addresses of this machine."""
    with ExitStack() as held:
        found = []
        for _ in range(count):
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            probe.bind(("", 0))
            found.append(int(probe.getsockname()[1]))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Program:
    """An executable file, what the kernel executes to start it, and the folders of its shared libraries."""

    path: str
    interpreters: tuple[str, ...]
    libraries: tuple[str, ...]
    is_script: bool
    prefixes: tuple[str, ...]  # of its interpreters, where they are named by links

    @classmethod
    def of(cls, path: str) -> _Program:
        found = os.stat(path)
        return _examined(path, found.st_mtime_ns, found.st_size)

    def data(self) -> Iterator[str]:
        """Where its libraries and data may be: its installation and the linked libraries; for a script, everything next
        to it."""
        for path in (self.path, *self.interpreters):
            folder = Path(path).parent
            prefix = folder.parent if folder.name == "bin" else folder
            yield str(folder if self.is_script and path == self.path else prefix)
        yield from (*self.libraries, *self.prefixes)

    def shims(self) -> Iterator[str]:
        """Installations whose interpreter is a script that finds the real one there (pyenv)."""
        for path in self.interpreters:
            if _head(path).startswith(b"#!"):
                yield str(Path(path).parent.parent)


@lru_cache(maxsize=64)
def _examined(path: str, _changed_ns: int, _size: int) -> _Program:
    head = _head(path)
    interpreters: list[str] = []
    prefixes: list[str] = []
    reader, depth = head, 0
    while reader.startswith(b"#!") and depth < _DEEPEST_SCRIPT:
        words = os.fsdecode(reader[2:].split(b"\n", 1)[0]).split()
        named = [word for word in words[:1] if word]
        if named and os.path.basename(named[0]) == "env":
            named += [found for word in words[1:2] if (found := shutil.which(word))]
        interpreters += [os.path.realpath(name) for name in named]
        prefixes += [os.path.dirname(os.path.dirname(name)) for name in named if name.startswith("/")]
        reader, depth = _head(interpreters[-1]) if interpreters else b"", depth + 1
    libraries: list[str] = []
    for program in (path, *interpreters):
        loader = _elf_loader(_head(program))
        if loader:
            interpreters.append(os.path.realpath(loader))
            libraries += _linked(program)
    return _Program(path, _unique(interpreters), _unique(libraries), head.startswith(b"#!"), _unique(prefixes))


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LONGEST_HEAD)
    except OSError:
        return b""  # executable but not readable: its needs are unknown


def _elf_loader(head: bytes) -> str | None:
    """The path of PT_INTERP in a 64-bit little-endian ELF file (elf(5)); None where it has none."""
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return None
    table, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    for at in range(table, min(table + size * count, len(head) - size + 1), max(size, 56)):
        if struct.unpack_from("<I", head, at)[0] == _PT_INTERP:
            offset, length = struct.unpack_from("<Q", head, at + 8)[0], struct.unpack_from("<Q", head, at + 32)[0]
            return os.fsdecode(head[offset : offset + length].rstrip(b"\0")) or None
    return None


def _linked(path: str) -> Iterator[str]:
    """Folders of the shared libraries that the loader finds for this program."""
    try:
        ended = subprocess.run(["ldd", path], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in ended.stdout.splitlines():
        _, arrow, right = line.partition("=>")
        library = right.split(" (")[0].strip()
        if arrow and library.startswith("/"):
            yield os.path.dirname(library)
            yield os.path.dirname(os.path.realpath(library))


def as_order(confinement: Confinement) -> dict[str, Any] | None:
    """The part of a guardian's order that sets the confinement of its engine; None: none by the kernel."""
    if confinement.policy is None:
        return None
    return {
        "policy": confinement.policy._asdict(),
        "network": confinement.network,
        "local_ipc": confinement.local_ipc,
    }


def order(reach: Reach, work: Path, settings: Settings) -> dict[str, Any] | None:
    """The argument of `enforce` for a process of qmrunner that works in `work`; None if the kernel does not confine."""
    granted = kernel()
    if settings.confine == "off" or granted.abi is None:
        return None
    return as_order(confine(reach, work, os.environ, settings, granted))
