"""Credentials of a socket's peer: only our own user and root are accepted. Standard library only."""

from __future__ import annotations

import os
import socket
import struct

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)


def peer_of(client: socket.socket) -> tuple[int, int] | None:
    """Process and user id of the peer, from the kernel; None when the kernel has none. The pid is 0 for a process of
    another pid namespace."""
    try:
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


def is_ours(uid: int) -> bool:
    """Whether this user may send requests here. Root could bypass the check anyway."""
    return uid in (0, os.geteuid())


def pass_credentials(listener: socket.socket) -> None:
    """Make the kernel attach the sender's credentials to each datagram."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def receive(listener: socket.socket, size: int) -> bytes | None:
    """The next datagram; None when its sender is not accepted. Raises OSError."""
    data, ancillary, _, _ = listener.recvmsg(size, socket.CMSG_SPACE(_CREDENTIALS.size), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(content) >= _CREDENTIALS.size:
            return data if is_ours(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[1]) else None
    return None
