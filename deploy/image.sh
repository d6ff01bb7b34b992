#!/bin/sh
# Builds the worker image and prints what makes up its size.
#     deploy/image.sh [TAG]     BASE=debian:trixie-slim for another Debian, TARGET=crest for the image with CREST
# (CREST_URL and CREST_SHA256 take it from a mirror, or another release), ARCH=arm64 for another processor, whose programs
# this machine must be able to run (qemu-user-static and binfmt_misc).
# Where no registry answers the base is made by deploy/base.sh. Python packages are fetched here, by this machine's pip
# and checked against constraints.txt, so that the build itself needs no package index.
set -eu
cd "$(dirname "$0")/.."
tag=${1:-qmrunner:latest}
base=${BASE:-debian:bookworm-slim}
own=$(docker version --format '{{.Server.Arch}}')
arch=${ARCH:-$own}

say() { printf '[image] %s\n' "$*" >&2; }

suite=$(echo "$base" | sed -n 's/^debian:\([a-z]*\)-slim$/\1/p')
# A tag means one image on this machine: the base of another processor has its own tag.
if [ "$arch" != "$own" ]; then public=$base base=$base-$arch; else public=$base; fi
if ! docker image inspect "$base" >/dev/null 2>&1; then
    say "looking for $base"
    if [ "$arch" = "$own" ] && timeout 60 docker pull --quiet "$base" >/dev/null 2>&1; then
        say "pulled it"
    else
        [ -n "$suite" ] || { say "no registry gives $public, and it cannot be made here"; exit 1; }
        deploy/base.sh "$suite" "$base" "$arch"
    fi
fi

# One folder for each Python of a base, filled once for each state of constraints.txt; the build sees the one it needs.
case $suite in trixie) python=313 ;; *) python=311 ;; esac
wheels=dist/wheels-$python-$arch
stamp=$(sha256sum <constraints.txt)
if [ "$(cat "$wheels/stamp" 2>/dev/null)" != "$stamp" ]; then
    say "fetching the locked Python packages"
    rm -rf "$wheels"
    set --
    if [ "$arch" != "$own" ]; then
        case $arch in arm64) machine=aarch64 ;; amd64) machine=x86_64 ;; *) say "no wheels for $arch"; exit 1 ;; esac
        for glibc in 17 24 26 27 28 31 34; do set -- "$@" --platform "manylinux_2_${glibc}_$machine"; done
    fi
    .venv/bin/python -m pip download -qq --require-hashes --only-binary :all: --python-version "$python" "$@" \
        --dest "$wheels" -r constraints.txt
    echo "$stamp" >"$wheels/stamp"
fi
rm -rf dist/wheelhouse
cp -al "$wheels" dist/wheelhouse
# The assets of the pages, as package-lock.json pins them: the build needs no npm registry either.
.venv/bin/python deploy/assets.py
rm -rf dist/vendor
if [ -d qmrunner/web/static/vendor ]; then cp -a qmrunner/web/static/vendor dist/vendor; fi

set --
if [ "$arch" != "$own" ]; then set -- --platform "linux/$arch"; fi
if [ -n "${CREST_URL:-}" ]; then set -- "$@" --build-arg CREST_URL="$CREST_URL" --build-arg CREST_SHA256="${CREST_SHA256:?}"; fi

say "building $tag on $base"
# The build reaches mirrors the way this machine does, its /etc/hosts included.
docker build --quiet --network host -f deploy/Dockerfile --target "${TARGET:-worker}" -t "$tag" \
    --build-arg BASE="$base" "$@" \
    --build-arg VERSION="$(sed -n 's/^__version__ = "\(.*\)"/\1/p' qmrunner/__init__.py)" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" . >/dev/null

docker image inspect --format "$tag: {{.Size}} bytes, {{len .RootFS.Layers}} layers, user {{.Config.User}}" "$tag"
docker history --no-trunc --format '{{.Size}}\t{{.CreatedBy}}' "$tag" | grep -v '^0B' | cut -c 1-110
docker run --rm --entrypoint sh "$tag" -c '
    du -xsm /usr/lib /usr/share /usr/bin /opt/qmrunner /var 2>/dev/null
    echo "largest packages of Debian (MB):"
    dpkg-query -W -f "\${Installed-Size} \${Package}\n" | sort -rn | head -12 | awk "{ printf \"%8.1f %s\n\", \$1/1024, \$2 }"
    echo "largest Python packages (MB):"
    du -sm /opt/qmrunner/lib/python3*/site-packages/* | sort -rn | head -8'
