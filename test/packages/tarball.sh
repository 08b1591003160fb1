#!/bin/bash
# In a minimal Debian: install from the archive of "make dist" as README.md says, and try it.
set -euo pipefail
apt-get install -q -y --no-install-recommends postgresql-15 postgresql-server-dev-15 gcc libc6-dev make >/dev/null
mkdir /srv/unpacked
tar -xf /srv/dist/pg_derive-*.tar.gz -C /srv/unpacked --strip-components=1
cd /srv/unpacked
make -s -j "$(nproc)" with_llvm=no
make -s install with_llvm=no
bash /srv/test/configure.sh
PGPORT=$(pg_lsclusters -h | sed -n 's/^15 *main *\([0-9]*\) .*/\1/p') runuser -u postgres -- psql -X -q -f test/smoke.sql
