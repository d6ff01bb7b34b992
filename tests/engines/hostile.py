"""Hostile decks: what stands between the start and the end of `deck`, and why it has to be refused.

`{out}` is a folder outside the job's. `ACTS` are those of which `test_confinement_real` shows what NWChem 7.0.2 does
with them; `REFUSED` are refused for the same reasons, or because another program or version may act on them.
"""

from __future__ import annotations

HEAD = "start w\nmemory total 200 mb\ngeometry noautoz\n He 0 0 0\nend\nbasis\n * library sto-3g\nend\n"
PYTHON = 'python\nimport os\nos.system("touch {out}/hit")\nend\ntask python\n'

ACTS = {
    "a shell task": HEAD + 'task shell "touch {out}/hit"\n',
    "a shell task in odd case and with tabs": HEAD + 'TASK\tShElL\t"touch {out}/hit"\n',
    "a shell task in quotes": HEAD + '"task" "shell  " "touch {out}/hit"\ntask scf\n',
    "a shell task over two lines": HEAD + 'task \\\nshell "touch {out}/hit"\n',
    "a shell task behind a semicolon": HEAD + 'charge 0;task shell "touch {out}/hit"\n',
    "a shell task on all ranks": HEAD + 'task shell all "touch {out}/hit"\n',
    "a shell task behind a hash that is no comment": HEAD + 'title x\\#; task shell "touch {out}/hit"\ntask scf\n',
    "a shell task behind a lone carriage return": HEAD + 'title x\rtask shell "touch {out}/hit"\n',
    "a shell task behind a folder whose line only seems to go on": HEAD
    + 'scratch_dir x \\ # c\ntask shell "touch {out}/hit"\ntask scf\n',
    "a shell task behind memory whose line only seems to go on": HEAD.replace(
        "memory total 200 mb", 'memory total 99999 gb \\ # c\ntask shell "touch {out}/hit"'
    ),
    "a shell task behind letters of another alphabet": HEAD + 'title \u00a0\rtask shell "touch {out}/hit"\n',
    "a shell task before words that are cut off": HEAD + 'task shell "touch {out}/hit"' + " " * 1100 + "x\n",
    "a python block": HEAD + PYTHON,
    "a run with a name elsewhere": HEAD.replace("start w", "start ../outside/hit") + "task scf\n",
    "a database elsewhere": HEAD.replace("start w", "start w rtdb {out}/hit") + "task scf\n",
    "orbitals elsewhere": HEAD + "scf; vectors output {out}/hit; end\ntask scf\n",
    "orbitals elsewhere by the database": HEAD + 'set "scf:output vectors" {out}/hit\ntask scf\n',
    "a cube elsewhere": HEAD
    + "task scf\ndplot\n gaussian\n output {out}/hit\n limitxyz\n -1 1 2\n -1 1 2\n -1 1 2\nend\ntask dplot\n",
    "a report elsewhere": "ecce_print {out}/hit\n" + HEAD + "task scf\n",
    "an include": "include {out}/secret\n" + HEAD + "task scf\n",
    "an include without a blank": "includeX{out}/secret\n" + HEAD + "task scf\n",
    "a structure elsewhere": HEAD.replace(" He 0 0 0", " load {out}/secret.xyz") + "task scf\n",
}
REFUSED = {
    "a server of molecular dynamics": "start w\nmd\n system w\n server 127.0.0.1 1\nend\ntask md dynamics\n",
    "a server in capitals and quotes": 'start w\nmd; "SERVER"\t127.0.0.1 1; end\ntask md dynamics\n',
    "a socket of plane waves": HEAD + "nwpw; socket ipi_client 127.0.0.1:1; end\ntask pspw optimize\n",
    "a socket by a key of plane waves": HEAD + "set nwpw:socket_type ipi_client\ntask pspw optimize\n",
    "a report over a file that was handed in": "ecce_print more.nw\n" + HEAD + "task scf\n",
    "a folder and more on one line": HEAD + "scratch_dir x; charge 0\ntask scf\n",
    "a shell task that a comment only seems to hold": HEAD + '# c \\\ntask shell "id"\ntask scf\n',
    "a shell task behind a carriage return and a backslash": HEAD + 'title x \\\r\ntask shell "id"\r\ntask scf\n',
    "more directives on a line than there is room for": HEAD + ";" * 600 + "\ntask scf\n",
    "an indented include": " include {out}/secret\n" + HEAD + "task scf\n",
    "a quoted include": 'include "{out}/secret"\n' + HEAD + "task scf\n",
    "an include of what was not handed in": "include parameters\n" + HEAD + "task scf\n",
    "an include of itself": "include deck.nw\n" + HEAD + "task scf\n",
    "an include below a task": HEAD + "task scf\ninclude more.nw\ntask scf\n",
    "a debugger": HEAD + "task scf energy debug\n",
    "a socket": HEAD + "driver; socket ipi_client example.org:80; end\ntask scf optimize\n",
    "a socket by the database": HEAD + "set driver:socket .true.\ntask scf optimize\n",
    "a speech server": "speech example.org 80\n" + HEAD + "task scf\n",
    "a basis file": HEAD.replace("sto-3g", "sto-3g file {out}/secret") + "task scf\n",
    "a basis library by way of dots": HEAD.replace("sto-3g", "../../../{out}/secret") + "task scf\n",
    "a folder behind a semicolon": HEAD + "charge 0; permanent_dir {out}\ntask scf\n",
    "a folder of one host": HEAD + "charge 0; scratch_dir host:{out}\ntask scf\n",
    "a name for a shell": HEAD.replace("start w", "start w$(id)") + "task scf raman\n",
    "a name with backticks": HEAD.replace("start w", "start `id`") + "task scf raman\n",
    "a name of a folder up": HEAD.replace("start w", "start ..") + "task scf\n",
    "a home": HEAD + "scf; vectors input ~/x.movecs; end\ntask scf\n",
    "a path behind an equals sign": HEAD + "set x=/etc/passwd\ntask scf\n",
    "a path behind a colon": HEAD + "scf; vectors input ufs:/etc/passwd; end\ntask scf\n",
    "a path behind a blank in quotes": HEAD + 'scf; vectors input " /etc/passwd"; end\ntask scf\n',
    "a path of dots in the middle": HEAD + "scf; vectors input a/../../b; end\ntask scf\n",
    "a zero byte": HEAD + "title a\0b\ntask scf\n",
    "an escape character": HEAD + "title \x1b[2J\ntask scf\n",
    "a word that is cut off at column 1024": HEAD + "task scf;" + " " * 995 + 'task shell "id"\n',
    "a long line over many": HEAD + "title " + ("x" * 90 + " \\\n") * 12 + "x\ntask scf\n",
}
