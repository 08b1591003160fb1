#!/bin/bash
# In a minimal Debian with PostgreSQL: install the packages, use them, remove them, and find the machine as it was.
set -euo pipefail
cd /srv/packages

# What is on the machine, without what changes by itself and what apt and dpkg remember.
inventory()
{
	find / -xdev \( -path /proc -o -path /dev -o -path /run -o -path /tmp -o -path /srv -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg \
		-o -path /var/log -o -path /var/lib/postgresql -o -path /etc/ld.so.cache \) -prune -o -print | sort
}
# of the cluster that Debian's package makes
cluster_port() { pg_lsclusters -h | sed -n 's/^15 *main *\([0-9]*\) .*/\1/p'; }
sql() { PGPORT=$(cluster_port) runuser -u postgres -- psql -X -q -At -v ON_ERROR_STOP=1 "$@"; }

# systemd is there to look at units, which use procps; what our programs need of Debian is not ours
apt-get install -q -y --no-install-recommends postgresql-15 procps systemd >/dev/null
apt-get install -q -y --no-install-recommends $(dpkg-deb -f pg-derive-gateway_*.deb Depends | sed 's/([^)]*)//g; s/,//g') \
	$(dpkg-deb -f pg-derive-kafka_*.deb Depends | sed 's/([^)]*)//g; s/,//g') >/dev/null
inventory >/tmp/before

echo "installing"
apt-get install -q -y --no-install-recommends ./postgresql-15-pg-derive_*.deb ./pg-derive-gateway_*.deb ./pg-derive-kafka_*.deb >/dev/null
dpkg -s postgresql-15-pg-derive pg-derive-gateway pg-derive-kafka | grep -c '^Status: install ok installed' | grep -qx 3
[ -s /usr/share/doc/postgresql-15-pg-derive/examples/monitoring/dashboard.json ]

echo "a server that is not set for it says so"
pg_ctlcluster 15 main start 2>/dev/null || pg_ctlcluster 15 main status
# the postmaster may have been started by the installation
sql -c 'CREATE EXTENSION pg_derive' 2>&1 | tee /tmp/warning
grep -q 'WARNING:  pg_derive cannot maintain views on this server yet' /tmp/warning
grep -q '"shared_preload_libraries" must contain pg_derive' /tmp/warning
sql -c 'DROP EXTENSION pg_derive'

echo "one that is maintains views"
bash /srv/test/configure.sh
sql -f /srv/test/smoke.sql
export PGPORT=$(cluster_port)

echo "from version 0.1 to $(sql -c "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_derive'")"
sql -c "CREATE EXTENSION pg_derive VERSION '0.1'"
[ "$(sql -c 'SELECT ok FROM derive.check() WHERE setting = $$extension version$$')" = f ]
sql -c 'ALTER EXTENSION pg_derive UPDATE'
[ "$(sql -c 'SELECT bool_and(ok) FROM derive.check()')" = t ]

bash /srv/test/programs.sh

echo "removing"
sql -c 'DROP EXTENSION pg_derive CASCADE'
pg_conftool 15 main set shared_preload_libraries ''
pg_ctlcluster 15 main restart
apt-get remove -q -y postgresql-15-pg-derive pg-derive-gateway pg-derive-kafka >/dev/null
sql -c 'SELECT 1' >/dev/null
[ -z "$(sql -c "SELECT name FROM pg_available_extensions WHERE name = 'pg_derive'")" ]
dpkg --purge postgresql-15-pg-derive pg-derive-gateway pg-derive-kafka
inventory | diff /tmp/before - && echo "nothing is left"
