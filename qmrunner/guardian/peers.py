"""Who is at the other end of a socket: only our own user, and root, are heard. Standard library only."""

from __future__ import annotations

import os
import socket
import struct

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7)


def peer_of(client: socket.socket) -> tuple[int, int] | None:
    """Process and user id at the other end, by the kernel; None when it does not tell. A process of another pid
    namespace is 0."""
    try:
        told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(told)
    return pid, uid


def is_ours(uid: int) -> bool:
    """Whether this user may give orders here. Root could anyway."""
    return uid in (0, os.geteuid())


def tell_senders(listener: socket.socket) -> None:
    """Have the kernel say of each datagram who sent it."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def receive(listener: socket.socket, size: int) -> bytes | None:
    """The next datagram; None when its sender is not to be heard. Raises OSError."""
    data, told, _, _ = listener.recvmsg(size, socket.CMSG_SPACE(_CREDENTIALS.size), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in told:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(content) >= _CREDENTIALS.size:
            return data if is_ours(_CREDENTIALS.unpack(content[: _CREDENTIALS.size])[1]) else None
    return None
