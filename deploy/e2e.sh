#!/bin/sh
# The container tests from nothing: an engine if none runs, the image, tests/e2e. Arguments go to pytest; `build` only
# builds.
# An engine that was started here is stopped here; one that was running is left as it was, without our containers.
set -eu
cd "$(dirname "$0")/.."

say() { printf '[e2e] %s\n' "$*" >&2; }

# Without an engine nothing here can be tested: a result on a developer's machine, a failure under CI.
cannot() {
    say "NO CONTAINER TEST RAN: $*"
    if [ "${CI:-}" = true ]; then exit 1; fi
    exit 0
}

answers() { docker info >/dev/null 2>&1; }

engine=
work=
cleanup() {
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
    fi
    if [ -n "$work" ]; then rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

install_missing() {
    missing=
    command -v dockerd >/dev/null 2>&1 || missing="$missing docker.io iptables"
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null 2>&1 || missing="$missing docker-compose"
    command -v mmdebstrap >/dev/null 2>&1 || missing="$missing mmdebstrap"
    [ -n "$missing" ] || return 0
    say "installing$missing"
    apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null &&
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends -y \
            $missing >/dev/null
}

start_engine() {
    work=$(mktemp -d)
    say "starting a container engine"
    dockerd >"$work/dockerd.log" 2>&1 &
    engine=$!
    for _ in $(seq 60); do
        if answers; then return 0; fi
        kill -0 "$engine" 2>/dev/null || break
        sleep 1
    done
    tail -n 20 "$work/dockerd.log" >&2
    return 1
}

if ! answers; then
    [ "$(id -u)" -eq 0 ] || cannot "no container engine answers, and only root can start one"
    command -v apt-get >/dev/null 2>&1 || cannot "no container engine answers, and none can be installed without apt"
    install_missing || cannot "the packages of the container engine could not be installed"
    start_engine || cannot "the container engine did not start (its last words are above)"
fi

export E2E_IMAGE="${E2E_IMAGE:-qmrunner:e2e}"
deploy/image.sh "$E2E_IMAGE"
deploy/services/build.sh
# `.ci/run` builds beside other suites; the layers are there when the tests begin.
if [ "${1:-}" = build ]; then exit 0; fi
code=0
.venv/bin/python -m pytest -m e2e tests/e2e --durations=8 "$@" || code=$?
exit $code
