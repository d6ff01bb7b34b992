#!/bin/sh
# Builds the two servers of deploy/compose.scale.yaml from Debian's packages: qmrunner-postgres and qmrunner-redis.
# Needs the base, as deploy/image.sh makes or finds it.
set -eu
cd "$(dirname "$0")/../.."
base=${BASE:-debian:bookworm-slim}
suite=$(echo "$base" | sed -n 's/^debian:\([a-z]*\)-slim$/\1/p')
docker image inspect "$base" >/dev/null 2>&1 || timeout 60 docker pull --quiet "$base" >/dev/null 2>&1 ||
    deploy/base.sh "$suite" "$base"
for server in postgres redis; do
    docker build --quiet --network host -f deploy/services/Dockerfile --target "$server" -t "qmrunner-$server" \
        --build-arg BASE="$base" deploy/services >/dev/null
    docker image inspect --format "qmrunner-$server: {{.Size}} bytes, user {{.Config.User}}" "qmrunner-$server"
done
