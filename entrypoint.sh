#!/bin/sh
# What a container starts. Raises the stack limit, sets umask and time zone, checks that the volumes can be written, and
# then becomes the command: below tini as PID 1, or itself when something else already is PID 1 (`docker run --init`).
#
#     entrypoint.sh qmrunner run        entrypoint.sh qmrunner status        entrypoint.sh status        entrypoint.sh sh
#
# It repairs nothing silently: it prints the exact command to run on stderr, and ends with status 4.
set -eu

say() { printf 'entrypoint: %s\n' "$*" >&2; }

# Engines built by some compilers keep their matrices on the stack.
ulimit -s unlimited 2>/dev/null || say "the stack stays at $(ulimit -s) KiB: run the container with --ulimit stack=-1"

umask "${UMASK:-027}"
TZ=${TZ:-UTC}
export TZ
# A user without an entry in /etc/passwd has "/" here, and libraries would try to write their caches there.
if [ "${HOME:-/}" = / ]; then HOME=${QMRUNNER_HOME:-/data}; fi
export HOME

[ $# -gt 0 ] || set -- qmrunner run
# `docker run IMAGE status` is as good as `docker run IMAGE qmrunner status`.
command -v -- "$1" >/dev/null 2>&1 || set -- qmrunner "$@"

# Makes the folder if possible, and proves with a test file that it is writable.
usable() {
    if [ ! -d "$1" ]; then mkdir -p "$1" 2>/dev/null || return 1; fi
    probe=$1/.entrypoint.$$
    ( : >"$probe" ) 2>/dev/null || return 1
    rm -f "$probe"
}

if [ "$1 ${2:-}" = "qmrunner run" ]; then
    bad=
    for folder in "${QMRUNNER_HOME:-/data}" "${QMRUNNER_SCRATCH:-}" "${QMRUNNER_LOGS:-}" "${QMRUNNER_JOBS:-}"; do
        if [ -n "$folder" ] && ! usable "$folder"; then bad="$bad $folder"; fi
    done
    if [ -n "$bad" ]; then
        user=$(id -u):$(id -g)
        for folder in $bad; do
            owner=$(stat -c 'owner %u:%g, mode %a' "$folder" 2>/dev/null || echo "there is no such folder")
            say "volume_not_writable: user $user cannot write $folder ($owner)"
            say "  fix: docker run --rm --user 0 --entrypoint chown -v VOLUME_OR_FOLDER:$folder IMAGE -R $user $folder"
        done
        exit 4
    fi
fi

if [ $$ -eq 1 ] && command -v tini >/dev/null 2>&1; then
    exec tini -- "$@"
fi
exec "$@"
