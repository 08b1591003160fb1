# common.sh: a server for one benchmark, and how figures are taken and printed.
# To be sourced by bash; see README.md.
#
# The server is private: release build, data directory and socket in a temporary
# folder, stopped and removed at the end.  As root it runs as an ordinary user.

. "$(dirname "${BASH_SOURCE[0]}")/../tools/common.sh"

database=bench
keep=${BENCH_KEEP:-}

# End the benchmark, also from inside of $(...).
eval "$(declare -f die | sed '1s/die/complain/')"
die()
{
	( complain "$@" )
	[ "$BASHPID" = $$ ] || kill -TERM $$
	exit 1
}

note() { printf '%s\n' "$*" >&2; }
heading() { printf '\n%s\n' "$1"; }

# --- the server -------------------------------------------------------------

cleanup()
{
	local pid

	[ -n "${work:-}" ] || return
	for pid in $(jobs -p); do
		kill "$pid" 2>/dev/null
	done
	[ -z "${held_worker:-}" ] || kill -CONT "$held_worker" 2>/dev/null
	if [ -f "$work/data/postmaster.pid" ]; then
		( cd / && as_server_user "$pg_bin/pg_ctl" -D "$work/data" -m fast -w -s stop ||
			as_server_user "$pg_bin/pg_ctl" -D "$work/data" -m immediate -w -s stop )
	fi
	if [ -n "$keep" ]; then
		note "kept: $work"
	else
		rm -rf "$work"
	fi
}

# start_server LINE...: lines for postgresql.conf beyond those of every benchmark.
start_server()
{
	install_prerequisites build
	cd "$root" || exit 1
	work=$(mktemp -d "${TMPDIR:-/tmp}/pg_derive-bench.XXXXXX")
	trap cleanup EXIT
	trap 'exit 130' INT TERM HUP
	chmod 755 "$work"
	socket=$work/run
	mkdir "$socket" "$work/data"
	touch "$work/server.log"
	{ make -s -j "$(nproc)" with_llvm=no && make -s with_llvm=no install DESTDIR="$work/inst"; } >"$work/build.log" 2>&1 ||
		{ tail -n 20 "$work/build.log" >&2; die "the build failed"; }
	chmod 700 "$socket" "$work/data"
	[ "$(id -u)" -ne 0 ] || chown "$(server_user)" "$socket" "$work/data" "$work/server.log"
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$socket'"
		echo "shared_preload_libraries = 'pg_derive'"
		echo "wal_level = logical"
		echo "max_worker_processes = 16"
		# No checkpoint and no eviction in the middle of a run.
		echo "shared_buffers = '${BENCH_SHARED_BUFFERS:-1GB}'"
		echo "max_wal_size = '32GB'"
		echo "checkpoint_timeout = '1h'"
		private_install_settings "$work/inst"
		printf '%s\n' "$@" "${BENCH_SETTINGS:-}"
	} >"$work/settings" || exit 1
	(
		cd / &&
			as_server_user "$pg_bin/initdb" -D "$work/data" -U "$(id -un)" --auth=trust --locale=C.UTF-8 --encoding=UTF8 >"$work/initdb.log" 2>&1 &&
			as_server_user tee -a "$work/data/postgresql.conf" <"$work/settings" >/dev/null &&
			as_server_user "$pg_bin/pg_ctl" -D "$work/data" -l "$work/server.log" -w -s start
	) || { tail -n 5 "$work/server.log" >&2; die "the server did not start"; }
	"$pg_bin/createdb" -h "$socket" "$database" || exit 1
	sql 'CREATE EXTENSION pg_derive'
	printf '%s: PostgreSQL %s, %s cores, load %s\n' "$(basename "$0")" \
		"$(value 'SHOW server_version' | cut -d ' ' -f 1)" "$(nproc)" "$(cut -d ' ' -f 1 /proc/loadavg)"
}

psql() { "$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$socket" -d "$database" "$@"; }
value() { psql -At -c "$1" || die "failed: $1"; }
sql() { psql -o /dev/null -c 'SET client_min_messages = warning' -c "$1" || die "failed: $1"; }
load() { "$pg_bin/pgbench" -h "$socket" -n "$@" "$database" 2>"$work/pgbench.log" || { cat "$work/pgbench.log" >&2; die "pgbench failed"; }; }
caught_up() { sql "SELECT derive.wait()"; }

# Quiet, so that nothing but the benchmark runs next.
settle()
{
	psql -c 'VACUUM ANALYZE' -c 'CHECKPOINT' || exit 1
	! [ "$(value "SELECT count(*) FROM derive.views")" -gt 0 ] || caught_up
}

# --- the worker -------------------------------------------------------------

worker() { value "SELECT pid FROM derive.worker"; }

# While it is held, changes pile up, and are one batch afterwards.
hold_worker()
{
	caught_up
	held_worker=$(worker)
	as_server_user kill -STOP "$held_worker"
}

release_worker()
{
	as_server_user kill -CONT "$held_worker"
	held_worker=
	caught_up
}

# CPU time of a process so far, in ms.
cpu_ms() { awk '{ printf "%.3f", $1 / 1e6 }' "/proc/$1/schedstat"; }

# The counters of a view: batches, changes, ms reading the log, ms deriving and applying.
counters()
{
	psql -At -F ' ' -c "SELECT batches, changes_in, delta_ms, apply_ms FROM derive.stats WHERE view = '$1'::regclass"
}

# --- freshness ---------------------------------------------------------------

prepare_freshness()
{
	sql "CREATE FUNCTION ms(interval) RETURNS float8 LANGUAGE sql AS 'SELECT (1000 * extract(epoch FROM \$1))::float8';
		CREATE FUNCTION append_ms(float8[], interval) RETURNS float8[] LANGUAGE sql AS 'SELECT \$1 || ms(\$2)';
		CREATE FUNCTION at(float8[], float8) RETURNS float8 LANGUAGE sql AS 'SELECT percentile_disc(\$2) WITHIN GROUP (ORDER BY x) FROM unnest(\$1) x';
		CREATE FUNCTION at50(float8[]) RETURNS float8 LANGUAGE sql AS 'SELECT at(\$1, 0.5)';
		CREATE FUNCTION at99(float8[]) RETURNS float8 LANGUAGE sql AS 'SELECT at(\$1, 0.99)';
		CREATE FUNCTION at100(float8[]) RETURNS float8 LANGUAGE sql AS 'SELECT at(\$1, 1)';
		CREATE AGGREGATE p50(interval) (sfunc = append_ms, stype = float8[], initcond = '{}', finalfunc = at50);
		CREATE AGGREGATE p99(interval) (sfunc = append_ms, stype = float8[], initcond = '{}', finalfunc = at99);
		CREATE AGGREGATE worst(interval) (sfunc = append_ms, stype = float8[], initcond = '{}', finalfunc = at100)"
}

# measure_freshness SEEN CHANGE N [PAUSE]: one session makes N changes, commits each, reads the view
# until it is there, and sleeps (an SQL expression, in s; by default 10 to 30 ms).  Prints p50, p99 and
# the worst in ms, after COMMIT returned, after it was called, and after the statement before it was.  Under
# READ COMMITTED every statement in the loop has a snapshot of its own.
measure_freshness()
{
	psql -At -F ' ' <<SQL
CREATE TEMPORARY TABLE samples (stated timestamptz, before timestamptz, after timestamptz, seen timestamptz);
DO \$\$
DECLARE
	stated timestamptz[]; before timestamptz[]; after timestamptz[]; seen timestamptz[];
BEGIN
	FOR i IN 1..$3 LOOP
		PERFORM pg_sleep(${4:-0.01 + 0.02 * random()});
		stated[i] := clock_timestamp();
		$2;
		before[i] := clock_timestamp();
		COMMIT;
		after[i] := clock_timestamp();
		LOOP
			EXIT WHEN EXISTS ($1);
		END LOOP;
		seen[i] := clock_timestamp();
	END LOOP;
	INSERT INTO samples SELECT * FROM unnest(stated, before, after, seen);
END \$\$;
SELECT to_char(p50(seen - after), 'FM990.00'), to_char(p99(seen - after), 'FM990.00'), to_char(worst(seen - after), 'FM990.00'),
	to_char(p50(seen - before), 'FM990.00'), to_char(p99(seen - before), 'FM990.00'), to_char(worst(seen - before), 'FM990.00'),
	to_char(p50(seen - stated), 'FM990.00'), to_char(p99(seen - stated), 'FM990.00'), to_char(worst(seen - stated), 'FM990.00')
FROM samples;
SQL
}

# --- figures ----------------------------------------------------------------

calc() { awk "BEGIN { printf \"%.${2:-3}f\", $1 }"; }
median() { printf '%s\n' "$@" | sort -g | awk '{ a[NR] = $1 } END { printf "%s", (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
seconds() { local start=$EPOCHREALTIME; "$@" || die "failed: $*"; calc "$EPOCHREALTIME - $start"; }

# claim WHAT FIGURE at-most|at-least LIMIT [UNIT]
claim()
{
	local verdict=missed
	awk -v a="$2" -v b="$4" -v how="$3" 'BEGIN { exit !((how == "at-most") ? a <= b : a >= b) }' && verdict=met
	printf '  => %s: %s%s (%s %s%s): %s\n' "$1" "$2" "${5:+ $5}" "${3/-/ }" "$4" "${5:+ $5}" "$verdict"
}
