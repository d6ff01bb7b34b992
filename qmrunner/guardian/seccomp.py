"""What Landlock does not cover: a seccomp filter for system calls that no engine needs, and dropped capabilities.

Landlock controls which files are opened and which TCP ports are used. It controls neither local sockets (the spawner's,
a database's), nor modes and owners of files, nor limits of other processes. The filter refuses these calls with EPERM
(`socket` with EACCES). Standard library only: guardians call `restrict` between fork and exec.

Numbers are those of ``asm/unistd.h``; the program is classic BPF as in seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from qmrunner.guardian.syscall import syscall

_SET_MODE_FILTER = 1
# Without this flag older kernels disable speculation for the process, which slows numerical code by several percent.
_SPEC_ALLOW = 1 << 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16
_X32 = 0x40000000
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
# Machine → AUDIT_ARCH of linux/audit.h, and its column of the table below.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# Modes, owners, attributes; kernel interfaces that engines do not use; mounts; the machine itself. Landlock covers the
# memory of other processes: MPI libraries copy between their own ranks.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89), "quotactl": (179, 60),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    # Programs without a file, and notifications about folders that may not be read.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "execveat": (322, 281), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    # Attributes, quotas and times of files by their path: Landlock does not check them. `utimensat` is below.
    "file_setattr": (469, 469), "open_tree_attr": (467, 467), "quotactl_fd": (443, 443), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None),
    # Queues of the user that outlive their process: `mq_open` makes one although Landlock refuses its descriptor.
    "mq_open": (240, 180), "mq_unlink": (241, 181), "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    # The machine has a limited number of these events (fs.aio-max-nr), which databases use.
    "io_setup": (206, 0),
}  # fmt: skip
# Open MPI 5 sets the mode of its rendezvous file.
_MODES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
}  # fmt: skip
# System V objects outlive their process and are shared by all processes of a user: qmrunner never removes them.
_SYSTEM_V: dict[str, tuple[int | None, int | None]] = {
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "semop": (65, 193), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187),
}  # fmt: skip
_TRUNCATE = (76, 45)  # covered by Landlock from ABI 3
# Position of the pid argument: only 0, the caller itself, is allowed.
_OWN_ONLY: dict[str, tuple[tuple[int, int], int]] = {
    "prlimit64": ((302, 261), 0), "sched_setaffinity": ((203, 122), 0), "sched_setscheduler": ((144, 119), 0),
    "sched_setparam": ((142, 118), 0), "sched_setattr": ((314, 274), 0), "setpriority": ((141, 140), 1),
    "ioprio_set": ((251, 30), 1),
}  # fmt: skip
# Without a path it sets the times of an open file.
_UTIMENSAT = (280, 88)
_IOCTL = (16, 29)
# FS_IOC_SETFLAGS (also of 32 bits), FS_IOC_FSSETXATTR, FS_IOC_ENABLE_VERITY and FS_IOC_SET_ENCRYPTION_POLICY change
# files that are open for reading only.
_FILE_IOCTLS = (0x40086602, 0x40046602, 0x401C5820, 0x40806685, 0x800C6613)
# Position of a send's flags: TCP Fast Open bypasses Landlock's connect check.
_SENDS = {"sendto": ((44, 206), 3), "sendmsg": ((46, 211), 2), "sendmmsg": ((307, 269), 3)}
_MSG_FASTOPEN = 0x20000000
_CLONE, _CLONE3 = (56, 220), (435, 435)
_NAMESPACES = 0x7E020080  # all of the flags CLONE_NEW*
_STREAM, _DATAGRAM, _RAW, _TYPE = 1, 2, 3, 0xF
_TCP = 6
_SOCKET = (41, 198)
_CAPABILITY_VERSION_3 = 0x20080522
_CAPSET = (126, 91)
_SECCOMP = (317, 277)


def supported() -> bool:
    """Whether this kernel supports filters and the table has its architecture."""
    return os.uname().machine in _MACHINES and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def restrict(*, network: bool, local_ipc: bool, truncate: bool = True) -> None:
    """Filter the system calls of this thread and what it executes, and drop its capabilities. Raises OSError.

    `network` allows TCP sockets, and the sockets with which a launcher lists its interfaces; `local_ipc` allows Unix
    sockets, System V objects and changes of file modes. `truncate`: whether files may be truncated by path.
    Call `landlock.forbid_new_privileges` first.
    """
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"seccomp: no table for {machine}")
    architecture, column = _MACHINES[machine]
    _drop_capabilities(column)
    sockets = _Sockets(network, local_ipc)
    program = _program(architecture, column, sockets, truncate)
    code = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    syscall("seccomp", _SECCOMP[column], _SET_MODE_FILTER, _SPEC_ALLOW, header)


class _Sockets(NamedTuple):
    network: bool
    local: bool

    def kinds(self) -> list[tuple[int, int | None, int | None]]:
        """Family, type and protocol of the allowed sockets; None: any."""
        allowed: list[tuple[int, int | None, int | None]] = []
        if self.network:
            # Landlock does not check protocols other than TCP itself (MPTCP). Launchers read their interface addresses
            # from a datagram socket, or from a netlink socket of the routing protocol, 0.
            for family in (_AF_INET, _AF_INET6):
                allowed += [(family, _STREAM, 0), (family, _STREAM, _TCP), (family, _DATAGRAM, 0)]
            allowed += [(_AF_NETLINK, _RAW, 0), (_AF_NETLINK, _DATAGRAM, 0)]
        return allowed + ([(_AF_UNIX, None, None)] if self.local else [])


def _program(architecture: int, column: int, sockets: _Sockets, truncate: bool) -> list[bytes]:
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    refuse_access = _instruction(_RETURN, _ERRNO | errno.EACCES)
    unknown = _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    allow = _instruction(_RETURN, _ALLOW)
    # Another instruction set of the same processor uses other system call numbers.
    program = [_instruction(_LOAD, _AT_ARCHITECTURE), _instruction(_JUMP_EQUAL, architecture, 1, 0), refuse]
    program += [_instruction(_LOAD, _AT_NUMBER), _instruction(_JUMP_AT_LEAST, _X32, 0, 1), refuse]
    wide = () if sockets.local else (*_MODES.values(), *_SYSTEM_V.values())
    refused = [*_REFUSED.values(), *wide, *(() if truncate else (_TRUNCATE,))]
    for number in (numbers[column] for numbers in refused):
        if number is not None:
            program += [_instruction(_JUMP_EQUAL, number, 0, 1), refuse]
    # Its flags cannot be inspected: on ENOSYS the C library falls back to clone.
    program += [_instruction(_JUMP_EQUAL, _CLONE3[column], 0, 1), unknown]
    program += _when(_CLONE[column], [_argument(0), _instruction(_JUMP_ANY_BIT, _NAMESPACES, 0, 1), refuse, allow])
    for numbers, at in _OWN_ONLY.values():
        program += _when(numbers[column], [_argument(at), _instruction(_JUMP_EQUAL, 0, 0, 1), allow, refuse])
    with_path = [_argument(1), _instruction(_JUMP_EQUAL, 0, 1, 0), refuse]
    with_path += [_argument(1, upper=True), _instruction(_JUMP_EQUAL, 0, 1, 0), refuse, allow]
    program += _when(_UTIMENSAT[column], with_path)
    changes = [word for order in _FILE_IOCTLS for word in (_instruction(_JUMP_EQUAL, order, 0, 1), refuse)]
    program += _when(_IOCTL[column], [_argument(1), *changes, allow])
    for numbers, at in _SENDS.values():
        fast = [_argument(at), _instruction(_JUMP_ANY_BIT, _MSG_FASTOPEN, 0, 1), refuse_access, allow]
        program += _when(numbers[column], fast)
    made: list[bytes] = []
    for family, kind, protocol in sockets.kinds():
        checks = [] if protocol is None else [_argument(2), _instruction(_JUMP_EQUAL, protocol, 0, 1), allow]
        if kind is not None:
            typed = [_argument(1), _instruction(_AND, _TYPE)]
            checks = [*typed, _instruction(_JUMP_EQUAL, kind, 0, len(checks)), *checks]
        checks = checks or [allow]
        made += [_argument(0), _instruction(_JUMP_EQUAL, family, 0, len(checks)), *checks]
    program += _when(_SOCKET[column], [*made, refuse_access])
    return [*program, allow]


def _when(number: int, then: list[bytes]) -> list[bytes]:
    """Run `then`, which ends in a verdict, for this system call; for others continue behind it."""
    return [_instruction(_JUMP_EQUAL, number, 0, len(then)), *then]


def _argument(at: int, *, upper: bool = False) -> bytes:
    """Load the lower half of an argument: both machines of the table are little-endian, and the kernel takes an int. Of
    a pointer, the `upper` half counts, too."""
    return _instruction(_LOAD, _AT_FIRST_ARGUMENT + 8 * at + 4 * upper)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _drop_capabilities(column: int) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall("seccomp", _CAPSET[column], header, bytes(24))
