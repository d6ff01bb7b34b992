"""One connection: limits before, between and after requests, and on a client that does not read.

Uvicorn parses the requests; this module adds the deadlines and limits that Uvicorn lacks, and sends Uvicorn's own
errors in qmrunner's format.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qmrunner.api.errors import refusal
from qmrunner.errors import UsageError

MOST_CONNECTIONS = 500
HEAD_S = 10.0  # from the first byte of a connection, or the last response, to the end of the next request's head
UNREAD_S = 60.0  # a client that does not read its response for this long is disconnected
LINGER_S = 5.0  # after a refusal, received bytes are dropped for this long, so that the client can read the refusal
_LARGEST_HEAD = 1 << 15
# Bytes parsed before other connections get their turn: 16 KiB in chunks of one byte take 30 ms.
_PIECE = 1 << 14
# Chunks of a few bytes cost a client little and a parser much: framing may be three quarters of the received bytes.
_FREE = 1 << 16
_MOST_FRAMING = 4


class _Counting(h11.Connection):
    """Counts the received bytes of a request, and those of its body."""

    came = body = 0

    def receive_data(self, data: bytes) -> None:
        self.came += len(data)
        super().receive_data(data)

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.came = self.body = 0
        elif isinstance(event, h11.Data):
            self.body += len(event.data)
        return event


class Wire(H11Protocol):
    """A connection of the server."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.conn: _Counting = _Counting(h11.SERVER, _LARGEST_HEAD)
        self._real: asyncio.Transport | None = None
        self._left = bytearray()
        self._scheduled = False
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._made = self.loop.time()

    @property
    def idle(self) -> bool:
        """Whether the connection serves no request now."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._real = transport
        super().connection_made(_Transport(transport, self))
        self._arm()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        self._left.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():  # else it follows a refusal
            self._left += data
            self.steer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def handle_events(self) -> None:
        super().handle_events()
        if not self.idle and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.idle:
            self._arm()

    def send_400_response(self, msg: str) -> None:
        """Send an error in qmrunner's format; sends nothing if a response has already begun."""
        if not self.idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = refusal(UsageError("bad_request", "this is not an HTTP/1.1 request", remedy="use an HTTP client"))
            headers = [*answer.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """No upgrade is supported; logging two lines for each upgrade request would be useless."""

    def steer(self) -> None:
        """Parse received bytes in pieces, and receive more when all are parsed and the application can take more."""
        assert self._real is not None
        if self._left and not self.flow.read_paused and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._feed)
        if self._left or self.flow.read_paused:
            self._real.pause_reading()
        else:
            self._real.resume_reading()

    def abort(self) -> None:
        """Close the connection immediately, even if bytes are still unsent."""
        assert self._real is not None
        self._real.abort()

    def _feed(self) -> None:
        self._scheduled = False
        if self.transport.is_closing():
            self._left.clear()
        elif self._left and not self.flow.read_paused:
            piece = bytes(self._left[:_PIECE])
            del self._left[:_PIECE]
            super().data_received(piece)
            if self.conn.came > _FREE + _MOST_FRAMING * self.conn.body and self.conn.their_state is h11.SEND_BODY:
                self.send_400_response("the chunks are too small")
        self.steer()

    def _arm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_S, self.abort)

    def _make_room(self) -> None:
        """Close the oldest idle connection of the address that has the most of them, or this connection if none is
        idle."""
        idle = [wire for wire in self.connections if isinstance(wire, Wire) and wire.idle]
        held = Counter(wire.client and wire.client[0] for wire in idle)
        min(idle, key=lambda wire: (-held[wire.client and wire.client[0]], wire._made)).abort()


class _Transport(asyncio.Transport):
    """The socket as Uvicorn sees it: closing waits for the client to read, and the wire alone controls reading."""

    def __init__(self, real: asyncio.Transport, wire: Wire) -> None:
        super().__init__()
        self._real = real
        self._wire = wire
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._closing or self._real.is_closing()

    def write(self, data: Any) -> None:
        self._real.write(data)

    def pause_reading(self) -> None:
        self._wire.steer()

    def resume_reading(self) -> None:
        if not self.is_closing():
            self._wire.steer()

    def close(self) -> None:
        """If the client may still be sending, closing immediately would destroy the response: linger."""
        if self.is_closing():
            return
        self._closing = True
        if self._wire.conn.their_state in (h11.SEND_BODY, h11.ERROR) and self._real.can_write_eof():
            self._real.write_eof()
            self._real.resume_reading()
            self._wire.loop.call_later(LINGER_S, self._real.abort)
        else:
            self._real.close()

    def abort(self) -> None:
        self._real.abort()
