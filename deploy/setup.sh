#!/bin/sh
# Makes what every other target needs: .venv with the locked packages, and the engines and servers.
# Run it as often as you like: it does only what is missing, and prints nothing if nothing is missing. With `slurm`, also
# the packages of `make slurm`.
set -eu
cd "$(dirname "$0")/.."

# Two set-ups of one checkout at a time would spoil each other: the second waits, then finds all done.
if command -v flock >/dev/null 2>&1; then
    exec 9<deploy/setup.sh
    flock 9
fi

VENV=.venv
STAMP=$VENV/.setup-stamp
SOURCES=deploy/from-source.txt
PACKAGES_PYTHON="python3 python3-venv"
SERVICE_GUARD=/usr/sbin/policy-rc.d
GUARD_TAG="# placed by qmrunner deploy/setup.sh"

say() { printf '[setup] %s\n' "$*" >&2; }
die() { printf '[setup] FAILED: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Runs a command with its output kept in the log; on failure shows the end of it, which holds the reason.
LOG=
quietly() {
    what=$1; shift
    [ -n "$LOG" ] || LOG=$(mktemp)
    if ! "$@" </dev/null >"$LOG" 2>&1; then
        tail -n 25 "$LOG" >&2
        die "$what (whole log: $LOG)"
    fi
}

# --- packages of the system -------------------------------------------------------------------------------------------

# apt knows a package only after its lists were fetched; that is done at most once, and only when something is missing.
UPDATED=
apt_update() {
    [ -z "$UPDATED" ] || return 0
    say "fetching the package lists"
    quietly "apt-get update" apt-get -qq update
    UPDATED=yes
}

# Servers are installed for tests, which start their own: Debian must not start them as services meanwhile.
guard_services() {
    [ ! -e "$SERVICE_GUARD" ] || return 0
    printf '#!/bin/sh\n%s\nexit 101\n' "$GUARD_TAG" >"$SERVICE_GUARD"
    chmod 755 "$SERVICE_GUARD"
}
unguard_services() {
    if [ -f "$SERVICE_GUARD" ] && grep -qF "$GUARD_TAG" "$SERVICE_GUARD"; then rm -f "$SERVICE_GUARD"; fi
}
trap unguard_services EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

apt_install() {
    apt_update
    say "installing $*"
    guard_services
    quietly "apt-get install $*" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends -y "$@"
    unguard_services
}

have_postgres() { have postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; }

# One Debian package per missing program. NWChem is built once per MPI there; openmpi is the one qmrunner is tested with.
missing_packages() {
    have nwchem || have nwchem.openmpi || have nwchem.mpich || printf '%s ' nwchem-openmpi
    have mpirun || printf '%s ' openmpi-bin
    have xtb || printf '%s ' xtb
    have redis-server || printf '%s ' redis-server
    have_postgres || printf '%s ' postgresql
    have systemd-analyze || printf '%s ' systemd
    have ip || [ -x /usr/sbin/ip ] || printf '%s ' iproute2
    have chromium || printf '%s ' chromium
    have groff || printf '%s ' groff-base
    have iptables || [ -x /usr/sbin/iptables ] || printf '%s ' iptables
}

# Only for `make slurm`: a batch system of the tests' own.
missing_slurm() {
    have slurmctld || [ -x /usr/sbin/slurmctld ] || printf '%s ' slurmctld
    have slurmd || [ -x /usr/sbin/slurmd ] || printf '%s ' slurmd
    have sbatch || printf '%s ' slurm-client
    have munged || [ -x /usr/sbin/munged ] || printf '%s ' munge
}

# Word lists are split on purpose wherever they stand unquoted below.
install_engines() {
    missing=$("${1:-missing_packages}")
    [ -n "$missing" ] || return 0
    if is_root && have apt-get; then
        # shellcheck disable=SC2086
        apt_install $missing
    else
        say "not installed here: $missing"
        say "jobs and tests that need them will say so; to install them:"
        say "    sudo apt-get update && sudo apt-get install $missing"
    fi
}

# --- Python -----------------------------------------------------------------------------------------------------------

PY_CHECK='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if [ -n "$candidate" ] && "$candidate" -c "$PY_CHECK" >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    if ! python=$(find_python); then
        if is_root && have apt-get; then
            # shellcheck disable=SC2086
            apt_install $PACKAGES_PYTHON
        fi
        python=$(find_python) || die "no Python 3.11 or newer with venv: install $PACKAGES_PYTHON, or set PYTHON"
    fi
    say "making $VENV with $("$python" --version)"
    quietly "removing the old $VENV" rm -rf "$VENV"
    quietly "making $VENV" "$python" -m venv "$VENV"
}

install_python() {
    [ -w . ] && { [ ! -e "$VENV" ] || [ -w "$VENV" ]; } || die "$(pwd)/$VENV is not yours to write: run this as its owner"
    if ! "$VENV/bin/python" -c "$PY_CHECK" >/dev/null 2>&1 || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        make_venv
    fi
    say "installing the locked Python packages (some 200 MB, a minute or two)"
    quietly "installing constraints.txt" "$VENV/bin/python" -m pip install --quiet --require-hashes -r constraints.txt
    # Only a test needs these, so the set-up continues without them; under CI that test then fails.
    "$VENV/bin/python" -m pip install --quiet --require-hashes --no-deps --no-build-isolation -r "$SOURCES" \
        </dev/null >/dev/null 2>&1 || say "not installed, so a test is skipped: the packages of $SOURCES"
    quietly "installing qmrunner" "$VENV/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
}

# --- done already? ----------------------------------------------------------------------------------------------------

# The stamp records the inputs of the environment; a change of any of them, or another Python, rebuilds it.
fingerprint() { cat constraints.txt "$SOURCES" pyproject.toml "$VENV/pyvenv.cfg" 2>/dev/null | sha256sum; pwd; }

python_is_done() {
    [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] && [ "$(fingerprint)" = "$(cat "$STAMP")" ]
}

if ! python_is_done; then
    install_python
    fingerprint >"$STAMP"
    say "Python is ready: $VENV"
fi
install_engines
if [ "${1:-}" = slurm ]; then install_engines missing_slurm; fi
# Quick when nothing is missing; without npm the pages work, but draw no structures and curves.
"$VENV/bin/python" deploy/assets.py
if [ -n "$LOG" ]; then rm -f "$LOG"; fi
