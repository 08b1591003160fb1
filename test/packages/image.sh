#!/usr/bin/env bash
# What docker/Dockerfile and docker/compose.yaml say, without Docker: their images are made in folders, and the one of
# the server is started as its CMD says, after what the entrypoint of the official image does: it makes a cluster, and
# has the files in /docker-entrypoint-initdb.d run by a server with the same options.
#
#	image.sh WORK KEPT		folders for machines, and with the archives
set -euo pipefail
work=$1
kept=$2
. tools/common.sh
. tools/machine.sh

mkdir "$work/context"
tar -xf "$kept"/dist/pg_derive-*.tar.gz -C "$work/context" --strip-components=1
targets=$(sed -n 's/^FROM .* AS \(.*\)/\1/p' docker/Dockerfile | grep -vx build)
# shellcheck disable=SC2086
test/packages/dockerfile "$work" "$work/context" "$work/context/docker/Dockerfile" PG_MAJOR=15 $targets >"$work/images"
cat "$work/images"

echo "the server, as its image starts it"
mapfile -t command < <(python3 -c 'import json, sys
for line in sys.stdin:
    image = json.loads(line)
    if image["target"] == "server":
        print("\n".join(image["command"]))' <"$work/images")
cp test/smoke.sql "$work/server/srv/"
inside "$work/server" bash -euc '
	PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:$PATH
	install -d -o postgres /srv/data && mkdir -p /run/postgresql && chown postgres /run/postgresql
	as() { runuser -u postgres -- env PATH="$PATH" PGDATA=/srv/data "$@"; }
	cd /
	as initdb -A trust >/dev/null
	as "$@" -c listen_addresses= >/srv/log 2>&1 &
	as timeout 60 sh -c "until pg_isready -q; do sleep 0.1; done"
	for file in /docker-entrypoint-initdb.d/*; do as psql -Xq -v ON_ERROR_STOP=1 -f "$file"; done
	as env PGDATABASE=postgres pg_derive_probe "1 min"
	as psql -XAt -c "SELECT extname, extversion FROM pg_extension WHERE extname = \$\$pg_derive\$\$" -c "DROP EXTENSION pg_derive"
	as psql -Xq -f /srv/smoke.sql' bash "${command[@]}"

echo "the programs of the other images are complete"
for target in gateway kafka; do
	inside "$work/$target" sh -c '! ldd /usr/bin/pg_derive_* | grep "not found" && for program in /usr/bin/pg_derive_*; do runuser -u nobody -- "$program" --help >/dev/null || exit 1; done'
done

echo "docker-compose reads compose.yaml"
new_machine "$work/compose"
inside "$work/compose" apt-get install -q -y --no-install-recommends docker-compose >/dev/null
mkdir -p "$work/compose/srv/docker"
cp docker/* "$work/compose/srv/docker/"
inside "$work/compose" env POSTGRES_PASSWORD=a GATEWAY_PASSWORD=b docker-compose -f /srv/docker/compose.yaml --profile kafka config >"$work/config"
grep -c '^  [a-z_]*:$' "$work/config"
! inside "$work/compose" docker-compose -f /srv/docker/compose.yaml config >/dev/null 2>&1 || die "compose.yaml does not ask for passwords"
# each of its images is a stage of the Dockerfile
diff <(sed -n 's/^ *target: //p' docker/compose.yaml | sort) <(sort <<<"$targets")
