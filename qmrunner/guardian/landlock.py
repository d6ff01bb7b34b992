"""Landlock: the kernel limits what a process and all its descendants may open, execute, connect to and signal.

Standard library only: guardians call `restrict` between fork and exec. Numbers and structures are those of
``linux/landlock.h`` (kernel documentation, "Landlock: unprivileged access control"), ABI 1 (Linux 5.13) to 7 (6.15).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from qmrunner.guardian.syscall import syscall, system_library

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1 << 0
_RULE_PATH, _RULE_PORT = 1, 2
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1

_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
    | _REFER | _TRUNCATE
)  # fmt: skip
_DEVICE = _READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
# The rights that a rule for something other than a folder may name.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
# ABI → rights on files that this kernel can handle, as a count of bits.
_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_BITS_NEWEST = 16
TRUNCATE_ABI, TCP_ABI, SIGNALS_ABI = 3, 4, 6


class Policy(NamedTuple):
    """What is allowed; everything else that the kernel can handle is refused. Paths may be files or folders.

    `write` includes reading, `execute` does not; `devices` may also be written to and controlled; of `listed` only
    names may be read. `ports` are TCP ports to bind and connect to; None allows all.
    """

    read: Sequence[str] = ()
    write: Sequence[str] = ()
    execute: Sequence[str] = ()
    devices: Sequence[str] = ()
    listed: Sequence[str] = ()
    ports: Sequence[int] | None = ()


def abi() -> int:
    """The newest Landlock ABI of this kernel. Raises OSError: ENOSYS (not built in), EOPNOTSUPP (not enabled at
    boot), EPERM (an outer seccomp filter refuses the call)."""
    return syscall("landlock", _CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)


def restrict(policy: Policy) -> None:
    """Confine this thread, and everything it executes, permanently. Raises OSError.

    Paths in the policy that do not exist are skipped: they cannot be opened either way.
    """
    version = abi()
    files = (1 << _FILE_BITS.get(version, _FILE_BITS_NEWEST)) - 1
    network = _BIND_TCP | _CONNECT_TCP if version >= TCP_ABI and policy.ports is not None else 0
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= SIGNALS_ABI else 0
    attributes = struct.pack("=QQQ", files, network, scoped)[: 8 if version < TCP_ABI else 16 if not scoped else 24]
    ruleset = syscall("landlock", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for paths, rights in (
            (policy.read, _READ),
            (policy.write, _WRITE),
            (policy.execute, _EXECUTE),
            (policy.devices, _DEVICE),
            (policy.listed, _READ_DIR),
        ):
            _allow_paths(ruleset, paths, rights & files)
        for port in (policy.ports or ()) if network else ():
            syscall("landlock", _ADD_RULE, ruleset, _RULE_PORT, struct.pack("=QQ", network, port), 0)
        forbid_new_privileges()
        syscall("landlock", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def forbid_new_privileges() -> None:
    """Set-user-id programs give this process no further privileges; Landlock and seccomp require this."""
    libc = system_library()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")


def _allow_paths(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
                continue
            raise
        try:
            allowed = rights if stat.S_ISDIR(os.fstat(descriptor).st_mode) else rights & _OF_FILES
            if allowed:
                syscall("landlock", _ADD_RULE, ruleset, _RULE_PATH, struct.pack("=Qi", allowed, descriptor), 0)
        finally:
            os.close(descriptor)
