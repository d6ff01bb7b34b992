#!/bin/sh
# Where no registry is within reach: makes the Debian base of the image from this machine's own package sources.
#     deploy/base.sh SUITE TAG [ARCH]       for example: deploy/base.sh bookworm debian:bookworm-slim
set -eu
suite=$1 tag=$2 arch=${3:-$(dpkg --print-architecture)}

say() { printf '[base] %s\n' "$*" >&2; }

command -v mmdebstrap >/dev/null || { say "mmdebstrap is missing: apt-get install mmdebstrap"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The sites that apt itself asks for Debian packages, whichever form its sources have.
sites=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 2>/dev/null | awk '$1 == "Debian" { print $2, $NF }')
mirror=$(echo "$sites" | awk '$1 == "Debian" { print $2; exit }')
security=$(echo "$sites" | awk '$1 == "Debian-Security" { print $2; exit }')
: "${mirror:=http://deb.debian.org/debian}" "${security:=http://deb.debian.org/debian-security}"

say "making $tag for $arch with mmdebstrap"
# As in the official slim images: no documentation, no translations.
mmdebstrap --quiet --variant=minbase --architectures="$arch" --include=ca-certificates \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/lintian/*' \
    "$suite" "$work/base.tar" "deb $mirror $suite main" "deb $mirror $suite-updates main" \
    "deb $security $suite-security main"
# Loaded and not imported: `docker import` labels every image with the processor of this machine.
digest=$(sha256sum "$work/base.tar" | cut -d ' ' -f 1)
cat >"$work/config.json" <<END
{"architecture": "$arch", "os": "linux", "config": {"Cmd": ["bash"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}}
END
printf '[{"Config": "config.json", "RepoTags": ["%s"], "Layers": ["base.tar"]}]\n' "$tag" >"$work/manifest.json"
tar -C "$work" -c manifest.json config.json base.tar | docker load --quiet >/dev/null
