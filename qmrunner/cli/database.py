"""db upgrade, db check."""

from __future__ import annotations

import typer

from qmrunner.cli.common import AsJson, print_json

_db = typer.Typer(help="The store's schema.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(_db, name="db")


@_db.command()
def upgrade() -> None:
    """Bring the schema to this program's version. Stop the daemons and make a backup first."""
    from qmrunner import app
    from qmrunner.store import schema

    opened = app.build()
    opened.make_home()
    before = schema.revision(opened.store)
    if schema.status(opened.store) == "newer":
        schema.require_current(opened.store, create=False)
    schema.upgrade(opened.store)
    print(f"store {opened.store.url}: {before or 'empty'} -> {schema.revision(opened.store)}")


@_db.command()
def check(as_json: AsJson = False) -> None:
    """Whether the store can be used by this program: exit status 0, or 4."""
    from qmrunner import app
    from qmrunner.store import schema

    store = app.build().existing_store()
    state, found = schema.status(store), schema.revision(store)
    if as_json:
        print_json({"state": state, "revision": found, "head": schema.HEAD, "store": store.url})
    else:
        print(f"store {store.url}: {state} (revision {found or 'none'}, this program needs {schema.HEAD})")
    raise typer.Exit(0 if state == "current" else 4)
