"""The man page, from the help of the commands. `docs/generate.py` writes it to deploy/qmrunner.1."""

from __future__ import annotations

from collections.abc import Iterable

import click

_HEAD = """.\\" Written by docs/generate.py from the help of the commands.
.TH QMRUNNER 1 "" "qmrunner {version}" "User Commands"
.SH NAME
qmrunner \\- run quantum\\-chemistry jobs on one or many machines
.SH SYNOPSIS
.B qmrunner
.I COMMAND
[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]
.SH DESCRIPTION
{about}
.PP
Commands that report take \\fB\\-\\-json\\fR. \\fBqmrunner COMMAND \\-h\\fR prints the help of a command.
.SH COMMANDS
"""
_TAIL = """.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
the job, or the check, failed
.TP
.B 2
the request is invalid: an argument, an option or an input file
.TP
.B 3
a job, step or file does not exist
.TP
.B 4
not ready: an engine is missing, the store does not answer, the daemon is unhealthy
.SH ENVIRONMENT
.TP
.B QMRUNNER_HOME
folder of store, jobs and logs; default \\fI./qmrunner\\-data\\fR
.PP
All settings are variables whose names begin with \\fBQMRUNNER_\\fR; the documentation lists them.
.SH FILES
.TP
.I jobs/ID/
input, results and logs of a job, below the home
"""


def page(version: str, about: str, commands: Iterable[tuple[str, click.Command]]) -> str:
    """The page in roff's man macros."""
    parts = [_HEAD.format(version=_plain(version), about=_text(about))]
    for name, command in commands:
        context = click.Context(command, info_name=name)
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        words = " ".join(["[OPTIONS]", *(p.make_metavar(context) for p in arguments)])
        parts.append(f".SS {_plain(name)} \\fI{_plain(words)}\\fR\n{_text(command.help or '')}\n")
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden and "--help" not in option.opts:
                shown = ", ".join([*option.opts, *option.secondary_opts])
                takes = "" if option.is_flag else f" \\fI{_plain(option.make_metavar(context))}\\fR"
                parts.append(f".TP\n\\fB{_plain(shown)}\\fR{takes}\n{_text(option.help or '')}\n")
    return "".join(parts) + _TAIL


def _text(text: str) -> str:
    """Paragraphs; a line that would begin with a control character gets a zero-width one in front."""
    paragraphs = (" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))
    return "\n.PP\n".join(
        f"\\&{_plain(part)}" if part[:1] in (".", "'") else _plain(part) for part in paragraphs if part
    )


def _plain(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
