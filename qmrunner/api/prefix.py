"""A server below a path of its proxy: requests lose the prefix, redirects get it.

A proxy may pass the prefix on or remove it: both arrive at the same routes. The pages put it into their own addresses
(`web.render`).
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Prefixed:
    """`prefix` has a slash at its beginning and none at its end."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._inner = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        here = {name: _without(scope[name], self._prefix) for name in ("path", "raw_path") if scope.get(name)}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                message = {**message, "headers": [(name, self._led(name, value)) for name, value in headers]}
            await send(message)

        await self._inner({**scope, **here}, receive, answer)

    def _led(self, name: bytes, value: bytes) -> bytes:
        own = name.lower() == b"location" and value.startswith(b"/") and not value.startswith(b"//")
        return self._prefix.encode() + value if own else value


def _without(path: str | bytes, prefix: str) -> str | bytes:
    """The path below the prefix; the same path where it has none."""
    if isinstance(path, bytes):
        return str(_without(path.decode("latin-1"), prefix)).encode("latin-1")
    if path == prefix:
        return "/"
    return path[len(prefix) :] if path.startswith(f"{prefix}/") else path
