"""web."""

from __future__ import annotations

from typing import Annotated

import typer

_ANSWER_S = 3.0


def register(cli: typer.Typer) -> None:
    cli.command()(web)


def web(
    name: Annotated[
        str | None, typer.Option("--token", help="Sign in with this token; needed where the store has several.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the address in a browser of this machine.")] = False,
) -> None:
    """Print the address of the pages. Where tokens are needed, the address signs in once, within a minute."""
    from qmrunner.cli.common import open_app, say
    from qmrunner.errors import NotReadyError
    from qmrunner.store import sessions, tokens

    app = open_app()
    url = app.settings.api_url or f"http://localhost:{app.settings.api_port}"
    url = url.rstrip("/") + (app.settings.api_prefix or "")
    if not _answers(url):
        raise NotReadyError(
            "no_server",
            f"no server answers at {url}",
            remedy="start `qmrunner serve`; QMRUNNER_API_PORT and QMRUNNER_API_URL say where it is",
        )
    with app.store.read() as connection:
        known = [token.name for token in tokens.listing(connection)]
    if known:
        chosen = _chosen(known, name)
        with app.store.write() as connection:
            url += f"/login#code={sessions.add_code(connection, app.store.now(), chosen)}"
    if show:
        import webbrowser

        webbrowser.open(url)
    say(url)


def _chosen(known: list[str], name: str | None) -> str:
    from qmrunner.errors import UsageError
    from qmrunner.store import tokens

    if name is not None:
        if name not in known:
            raise tokens.unknown(name)
        return name
    if len(known) > 1:
        raise UsageError(
            "token_ambiguous",
            "the store has several tokens",
            evidence=", ".join(known[:20]),
            remedy="choose one: `qmrunner web --token NAME`",
        )
    return known[0]


def _answers(url: str) -> bool:
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/healthz", timeout=_ANSWER_S):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
