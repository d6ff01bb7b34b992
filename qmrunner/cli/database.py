"""db upgrade, db check, db copy."""

from __future__ import annotations

from typing import Annotated

import typer

from qmrunner.cli.common import AsJson, build_app, print_json, say
from qmrunner.errors import ExitCode

_db = typer.Typer(help="Check, upgrade and copy the store.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.add_typer(_db, name="db")


@_db.command()
def upgrade() -> None:
    """Upgrade the database schema to the one that this version of qmrunner needs. Stop all daemons and make a backup
    first."""
    from qmrunner.store import schema

    opened = build_app()
    opened.make_home()
    before = schema.revision(opened.store)
    if schema.status(opened.store) == "newer":
        schema.require_current(opened.store, create=False)
    schema.upgrade(opened.store)
    say(f"store {opened.store.url}: {before or 'empty'} -> {schema.revision(opened.store)}")


@_db.command()
def check(as_json: AsJson = False) -> None:
    """Check that this version of qmrunner can use the store. The exit status is 0 if it can, else 4."""
    from qmrunner.store import schema

    store = build_app().existing_store()
    state, revision = schema.status(store), schema.revision(store)
    if as_json:
        print_json({"state": state, "revision": revision, "head": schema.HEAD, "store": store.url})
    else:
        say(f"store {store.url}: {state} (revision {revision or 'none'}, this version of qmrunner needs {schema.HEAD})")
    raise typer.Exit(ExitCode.OK if state == "current" else ExitCode.NOT_READY)


@_db.command()
def copy(
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="URL of an empty database: postgresql://user@host/name")
    ],
    as_json: AsJson = False,
) -> None:
    """Copy this store into an empty PostgreSQL database. Stop all daemons first; the old store is not changed."""
    from dataclasses import asdict

    from qmrunner import masking
    from qmrunner.store import copy_store
    from qmrunner.store.session import Store

    opened = build_app()
    masking.know([to], also=True)
    target = Store(to)
    try:
        copied = copy_store.copy(opened.existing_store(), target, lease_s=opened.settings.lease_seconds)
    finally:
        target.close()
    if as_json:
        print_json({"store": target.url, "tables": [asdict(table) for table in copied]})
        return
    for table in copied:
        say(f"{table.table:14} {table.rows:9} rows  {table.sha256[:16]}")
    say(f"the copy in {target.url} is complete; set QMRUNNER_STORE_URL to it on every machine that used this store")
