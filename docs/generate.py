"""Write the generated parts of the documentation, or check them: `python docs/generate.py [--check]`.

A page marks a generated part with `<!-- generated: NAME -->` and `<!-- end -->`; NAME is a function in BLOCKS. Pictures
are whole files. With `--check` nothing is written, and the exit status is 1 when a file differs from the program.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import fields
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGE = ROOT / "qmrunner"
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
import typer  # noqa: E402

from docs import manpage  # noqa: E402
from qmrunner import __version__  # noqa: E402
from qmrunner.errors import ExitCode  # noqa: E402
from qmrunner.model import states  # noqa: E402
from qmrunner.settings import PREFIX, Settings  # noqa: E402

_BLOCK = re.compile(r"(<!-- generated: ([\w-]+)(?: ([^>]*?))? -->\n).*?(<!-- end -->)", re.DOTALL)
_EVENT = re.compile(r"[a-z]+(?:_[a-z]+)*")
_LEVELS = ("debug", "info", "warning", "error", "exception")
CATALOGUES = {
    "all engines": ("common.toml",),
    "NWChem": ("nwchem/signatures.toml", "nwchem/output/errquit.toml"),
    "xTB": ("xtb/signatures.toml", "xtb/trace.toml"),
    "CREST": ("crest/signatures.toml",),
}
CLASSES = ("transient", "resource", "method", "permanent", "operator")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Commands ---------------------------------------------------------------------------------------------------------


def commands(group: click.Group | None = None, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, in the order of the help."""
    from qmrunner.cli.program import program

    group = group or typer.main.get_command(program())  # type: ignore[assignment]
    assert group is not None
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")  # type: ignore[arg-type]
        else:
            yield f"{before}{name}", command


def help_texts(names: str) -> str:
    """The help of the commands whose names begin with one of `names`, or with none of them after a `not`."""
    words = names.split()
    negative = words[0] == "not"
    parts = []
    for name, command in commands():
        if name.split()[0] in words[1:] if negative else name.split()[0] not in words:
            continue
        context = click.Context(command, info_name=name)
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        usage = " ".join(["qmrunner", name, "[OPTIONS]", *(p.make_metavar(context) for p in arguments)])
        parts.append(f"## `{name}`\n\n{_markdown(command.help or '')}\n\n```\n{usage}\n```\n")
        rows = []
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            shown = ", ".join([*option.opts, *option.secondary_opts])
            takes = "" if option.is_flag else f" {option.make_metavar(context)}"
            rows.append((f"`{shown}{takes}`".replace("|", "\\|"), _cell(option.help or "")))
        rows = [row for row in rows if not row[0].startswith("`--help")]
        if rows:
            parts[-1] += f"\n{_table(('option', 'meaning'), rows)}\n"
    return "\n".join(parts)


def _markdown(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("\b", "").split("\n\n")).strip()


# Settings, codes, events, exit codes ------------------------------------------------------------------------------


def settings(_: str) -> str:
    rows = []
    for field in fields(Settings):
        default = field.default
        if isinstance(default, bool | str | int | float):
            shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        else:
            shown = {"home": "`./qmrunner-data`", "worker_name": "host name"}.get(field.name, "–")
        rows.append((f"`{PREFIX}{field.name.upper()}`", shown, field.metadata["about"]))
    return _table(("variable", "default", "meaning"), rows)


def codes(_: str) -> str:
    """Failure codes by catalogue and class."""
    engines = PACKAGE / "engines"
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for engine, names in CATALOGUES.items():
        for name in names:
            data = tomllib.loads((engines / name).read_text())
            for entry in [*data.get("signature", []), *data.get("family", {}).values()]:
                found[engine, entry["class"]].add(entry["code"])
    marks = tomllib.loads((engines / "nwchem" / "output" / "unconverged.toml").read_text())
    found["NWChem", "method"] |= {entry["code"] for entry in marks["mark"]} | {"task_failed"}
    for engine in ("NWChem", "xTB"):
        found[engine, "method"].add("topology_changed")  # no line of an output: the bonds are compared
    for engine in ("xTB", "CREST"):
        found[engine, "operator"].add("stack_limit")  # a crash under a small hard limit
    rows = [
        (engine, kind, ", ".join(f"`{code}`" for code in sorted(found[engine, kind])))
        for engine in CATALOGUES
        for kind in CLASSES
        if found[engine, kind]
    ]
    return _table(("catalogue", "class", "codes"), rows)


def exit_codes(_: str) -> str:
    """The exit statuses of the commands; a code without a meaning here stops the generator."""
    meaning = {
        "OK": "done; with `--wait`: the job succeeded",
        "FAILED": "failed; with `--wait`: the job failed or was cancelled",
        "USAGE": "bad input or option; nothing was stored",
        "NOT_FOUND": "no such job, step or file",
        "NOT_READY": "no store, engine missing, no result yet, home in use, unhealthy; with `--wait`: the job is held",
    }
    rows = [(str(int(code)), f"`{code.name}`", meaning[code.name]) for code in ExitCode]
    return _table(("code", "name", "meaning"), [*rows, ("130", "–", "Ctrl-C; the job itself keeps running")])


def consumer_exits(_: str) -> str:
    source = (PACKAGE / "worker" / "consumer_exit.py").read_text()
    rows = re.findall(r"^    (\w+) = (\d+)  # (.+)$", source, re.MULTILINE)
    return _table(("status", "name", "meaning"), [(number, f"`{name}`", text) for name, number, text in rows])


def _events(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, level and room of each event that a module reports, as far as its call names it."""
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        receiver, method = ast.unparse(node.func.value), node.func.attr
        if method in _LEVELS and re.search(r"(log|logs\.get\(\)|get_logger\(\))$", receiver):
            given, level = node.args[0] if node.args else None, method.replace("exception", "error")
        elif (receiver, method) == ("events", "append") and len(node.args) > 2:
            given, level = node.args[2], "history"
        else:
            continue
        choices = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
        for choice in choices:
            if isinstance(choice, ast.Constant) and isinstance(choice.value, str) and _EVENT.fullmatch(choice.value):
                yield choice.value, level, room
            elif isinstance(choice, ast.JoinedStr) and "child.name" in ast.unparse(choice):
                for name in ("consumer", "spawner"):
                    yield name + str(choice.values[-1].value), level, room  # type: ignore[attr-defined]
            elif isinstance(choice, ast.JoinedStr) and ast.unparse(choice).startswith("f'job_"):
                yield from ((f"job_{ending}", level, room) for ending in ("succeeded", "failed", "cancelled"))


def events(_: str) -> str:
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, level, room in _events(path):
            found[name][0].add(level)
            found[name][1].add(room)
    rows = [
        (f"`{name}`", ", ".join(sorted(found[name][0])), ", ".join(sorted(found[name][1]))) for name in sorted(found)
    ]
    return _table(("event", "level", "reported by"), rows)


# HTTP -------------------------------------------------------------------------------------------------------------


def routes(_: str) -> str:
    """Method, path, scope and summary of every route of the server."""
    from fastapi.routing import APIRoute

    from qmrunner.api.gate import ways
    from qmrunner.api.routes import bulk, check, jobs, operations, results, streams

    rows = []
    for room in (jobs, check, bulk, streams, results, operations):
        for route in room.router.routes:
            assert isinstance(route, APIRoute)
            way = next(iter(ways([route])))
            text = (route.summary or (route.description or "").split("\n\n")[0]).strip()
            for method in sorted(route.methods - {"HEAD"}):
                rows.append((f"`{method} {route.path}`", way.needs.scope or "none", _cell(text)))
    return _table(("route", "scope", "does"), rows)


# Python client ------------------------------------------------------------------------------------------------------


def client(_: str) -> str:
    """Every public attribute of the client's classes, with its parameters and the first paragraph of its description,
    and what each error carries."""
    from qmrunner.client import Client, Job, JobEndedError, JobList, Result, SomeRefusedError

    parts = []
    for kind in (Client, Job, JobList, Result):
        rows = []
        for name in sorted(name for name in dir(kind) if not name.startswith("_") and not hasattr(list, name)):
            member = inspect.getattr_static(kind, name)
            text = (inspect.getdoc(getattr(member, "fget", None) or member) or "").split("\n\n")[0]
            shown = f"{name}({_parameters(member)})" if callable(member) else name
            rows.append((f"`{shown}`", _cell(text)))
        about = inspect.getdoc(kind) or ""
        parts.append(f"## {kind.__name__}\n\n{about}\n\n{_table(('name', 'is, or does'), rows)}")
    errors = [(f"`{kind.__name__}`", _cell(inspect.getdoc(kind) or "")) for kind in (JobEndedError, SomeRefusedError)]
    parts.append(f"## Errors with more than a code\n\n{_table(('error', 'when'), errors)}")
    return "\n\n".join(parts)


def _parameters(method: Callable[..., object]) -> str:
    """The parameters as typed: an option whose default is the server's has `=…`."""
    found = []
    for given in list(inspect.signature(method).parameters.values())[1:]:
        default = "" if given.default is given.empty else "=…" if given.default is ... else f"={given.default!r}"
        found.append(f"{given.name}{default}")
    return ", ".join(found)


# Transcripts ------------------------------------------------------------------------------------------------------


def run(line: str) -> str:
    """What `qmrunner ARGUMENTS` prints in an empty home, with its exit status."""
    with tempfile.TemporaryDirectory() as home:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-m", "qmrunner", *line.split()],
            capture_output=True, text=True, cwd=home, timeout=600,
            env={**kept, f"{PREFIX}HOME": home, "LC_ALL": "C.UTF-8", "COLUMNS": "120", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        shown = (done.stdout + done.stderr).replace(home, "/data/qmrunner").rstrip()
    return f"```\n$ qmrunner {line}\n{shown}\n$ echo $?\n{done.returncode}\n```"


# Pictures ---------------------------------------------------------------------------------------------------------

_STYLE = (
    "<style>text{font:13px sans-serif;fill:#1b1f24}.s{font-weight:600}.m{fill:#57606a}"
    "line,path{stroke:#57606a;fill:none}rect{fill:#eef2f7;stroke:#57606a}"
    ".e{fill:#fff4e0}.f{fill:#e6f4ea}.r{stroke-dasharray:3 4;stroke:#afb8c1}</style>"
)


def _svg(width: int, height: int, title: str, body: list[str]) -> str:
    label = f'role="img" aria-label="{escape(title)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {label}>'
    arrow = (
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill:#57606a"/></marker></defs>'
    )
    white = f'<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", _STYLE, arrow, white, *body, "</svg>", ""])


def _machine(title: str, names: list[str], final: frozenset[str], moves: dict[str, tuple[frozenset[str], str]]) -> str:
    """Each state is a column; each move is a row with a dot at every state it starts from, and an arrow to its end."""
    left, step, row = 120, 104, 30
    x = {name: left + step * number + step // 2 for number, name in enumerate(names)}
    height = 60 + row * len(moves) + 10
    body = []
    for name in names:
        kind = "f" if name in final else "n"
        body.append(f'<rect class="{kind}" x="{x[name] - 48}" y="8" width="96" height="26" rx="5"/>')
        body.append(f'<text class="s" x="{x[name]}" y="26" text-anchor="middle">{name}</text>')
        body.append(f'<line class="r" x1="{x[name]}" y1="34" x2="{x[name]}" y2="{height - 8}"/>')
    for number, (move, (sources, end)) in enumerate(moves.items()):
        y = 60 + row * number
        body.append(f'<text x="10" y="{y + 4}">{move}</text>')
        for side in (min, max):
            start = x[side(sources, key=x.__getitem__)]
            if (start < x[end]) == (side is min) and start != x[end]:
                tip = x[end] - 3 if start < x[end] else x[end] + 3
                body.append(f'<line x1="{start}" y1="{y}" x2="{tip}" y2="{y}" marker-end="url(#a)"/>')
        body += [f'<circle cx="{x[name]}" cy="{y}" r="4" style="fill:#57606a"/>' for name in sorted(sources)]
    return _svg(left + step * len(names) + 10, height, title, body)


def job_states() -> str:
    names = [state.value for state in states.JobState]
    return _machine("States of a job and the moves between them", names, states.JOB_FINAL, states.JOB_MOVES)  # type: ignore[arg-type]


def step_states() -> str:
    names = [state.value for state in states.StepState]
    return _machine("States of a step and the moves between them", names, states.STEP_FINAL, states.STEP_MOVES)  # type: ignore[arg-type]


PROCESSES = [  # depth, name, what it does, kind
    (0, "qmrunner run", "supervisor: restarts its children, forwards logs, judges leases, sweeps", "n"),
    (1, "qm-consumer", "worker: one thread per slot claims, prepares, watches and commits attempts", "n"),
    (1, "qm-spawner", "forks guardians", "n"),
    (2, "qm-guardian × N", "one per attempt: owns the process tree, the log file and the exit record", "n"),
    (3, "engine", "mpirun → nwchem, xtb, crest, python -m qmrunner.chemistry", "e"),
    (0, "qmrunner serve", "HTTP API (optional), with a sandbox process per upload", "n"),
]


def processes() -> str:
    body, parent = [], {0: 0}
    for number, (depth, name, text, kind) in enumerate(PROCESSES):
        left, top = 16 + 44 * depth, 14 + 52 * number
        body.append(f'<rect class="{kind}" x="{left}" y="{top}" width="150" height="34" rx="5"/>')
        body.append(f'<text class="s" x="{left + 75}" y="{top + 22}" text-anchor="middle">{escape(name)}</text>')
        body.append(f'<text class="m" x="{left + 164}" y="{top + 22}">{escape(text)}</text>')
        if depth:
            body.append(f'<path d="M{left - 22} {parent[depth - 1]}V{top + 17}H{left - 2}" marker-end="url(#a)"/>')
        parent[depth] = top + 34
    return _svg(830, 14 + 52 * len(PROCESSES), "Processes of one machine; an arrow means: is the parent of", body)


# Decisions --------------------------------------------------------------------------------------------------------


def decisions(_: str) -> str:
    rows = []
    for page in (DOCS / "decisions").glob("[0-9]*.md"):
        for number, title, status in re.findall(r"^## (\d+)\. (.+)\n\nStatus: (.+)$", page.read_text(), re.MULTILINE):
            anchor = re.sub(r"[^\w\- ]", "", f"{number}. {title}".lower()).replace(" ", "-")
            anchor = re.sub(r"-{2,}", "-", anchor)
            rows.append((int(number), title, status.split(". Supersedes")[0].rstrip("."), page.name, anchor))
    return _table(
        ("number", "decision", "status"),
        [(str(n), f"[{title}]({page})", status) for n, title, status, page, _anchor in sorted(rows)],
    )


BLOCKS: dict[str, Callable[[str], str]] = {
    "help": help_texts,
    "settings": settings,
    "codes": codes,
    "exit-codes": exit_codes,
    "consumer-exits": consumer_exits,
    "events": events,
    "routes": routes,
    "client": client,
    "decisions": decisions,
    "run": run,
}
PICTURES = {"job-states.svg": job_states, "step-states.svg": step_states, "processes.svg": processes}


def man_page() -> str:
    from qmrunner.cli.program import program

    return manpage.page(__version__, str(program().info.help), commands())


def produced() -> dict[Path, str]:
    """Every file with a generated part → its whole text, as the program has it now."""
    texts = {}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        fresh = _BLOCK.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]](m[3] or '')}\n\n{m[4]}", text)
        if _BLOCK.search(text):
            texts[page] = fresh
    for name, draw in PICTURES.items():
        texts[DOCS / "pictures" / name] = draw()
    texts[ROOT / "deploy" / "qmrunner.1"] = man_page()
    return texts


def main() -> int:
    texts = produced()
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            path.parent.mkdir(exist_ok=True)
            path.write_text(texts[path])
            print(f"written: {path.relative_to(ROOT)}")
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} differs from the program; run `make docs-write`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
