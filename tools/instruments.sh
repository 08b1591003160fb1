# shellcheck shell=bash
# instruments.sh: what else tools/test looks at while the tests run, by the variable TEST_WITH.  To be sourced by it.
#
#	(unset)		nothing but our assertions
#	coverage	which lines of src ran at all, by gcc's counters (lcov)
#	sanitize	wrong use of memory, by AddressSanitizer and UndefinedBehaviorSanitizer
#	valgrind	the same, and values that were never set, by valgrind
#	pauses		what depends on time that should not: processes are stopped for seconds, as on a busy machine
#
# Each has a build of its own where it needs one.  What it found is counted as failed tests,
# and shown; what it makes slower gets more time.  The server itself is the packaged one: what
# happens in it while no function of ours is on the stack is not our business.

instrument=${TEST_WITH:-none}
instrument_dir=			# where reports are collected
instrument_env=()		# for the servers, and all that starts them
instrument_patience=1	# by which time limits are multiplied
instrument_build=assert
instrument_copt=-Werror	# of the programs beside the server
instrument_pattern=		# lines of a server log that are findings

case $instrument in
	none) ;;
	coverage | sanitize) instrument_build=$instrument instrument_patience=3 ;;&
	sanitize) instrument_copt="-Werror -O1 -fsanitize=address,undefined -fno-omit-frame-pointer" ;;
	coverage) ;;
	valgrind) instrument_patience=40 ;;
	pauses) instrument_patience=3 ;;
	*) die "unknown instrument \"$instrument\"" "TEST_WITH is coverage, sanitize, valgrind or pauses." ;;
esac

# After the build, before the first test.  $work is the folder of the run.
instrument_prepare()
{
	local log_file

	[ "$instrument" != none ] || return 0
	instrument_dir=$work/$instrument
	mkdir "$instrument_dir"
	case $instrument in
		coverage)
			# the counters of src/base/x.c come to be in $instrument_dir/src/base/x.gcda
			find "build/$instrument_build" -name '*.gcda' -delete
			instrument_env=(GCOV_PREFIX="$instrument_dir" GCOV_PREFIX_STRIP="$(tr -cd / <<<"$PWD/build/$instrument_build" | wc -c)")
			;;
		sanitize)
			# AddressSanitizer must be loaded first, and be ready before a library's constructor takes a lock of gettext
			cat >"$instrument_dir/early.c" <<-'C'
				#include <stdlib.h>
				__attribute__((constructor)) static void early(void) { volatile char *p = malloc(1); free((void *) p); }
			C
			gcc -O0 -shared -fPIC -Wl,-z,initfirst -o "$instrument_dir/early.so" "$instrument_dir/early.c" || return
			instrument_env=(LD_PRELOAD="$(gcc -print-file-name=libasan.so):$instrument_dir/early.so"
				ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:disable_coredump=1:detect_stack_use_after_return=0
				UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1)
			instrument_pattern='ERROR: AddressSanitizer|runtime error: '
			;;
		valgrind)
			# a folder of programs in which the server is one below valgrind
			cp "$pg_bin"/* "$instrument_dir/"
			log_file=$instrument_dir/%p.log
			cat >"$instrument_dir/postgres" <<-SH
				#!/bin/sh
				exec valgrind --quiet --leak-check=no --track-origins=yes --num-callers=40 --fullpath-after= \\
					--suppressions=$work/tree/test/valgrind.supp --log-file=$log_file $pg_bin/postgres "\$@"
			SH
			chmod 755 "$instrument_dir/postgres"
			pg_bin=$instrument_dir
			;;
		pauses)
			tools/pause-processes "$work" >"$instrument_dir/pauses" &
			# it ends with the folder, and nobody waits for it
			disown
			;;
	esac
	[ "$(id -u)" -ne 0 ] || chown -R "$(server_user)" "$instrument_dir"
	instrument_env+=(PG_TEST_TIMEOUT_DEFAULT=$((180 * instrument_patience)))
}

# After the last test: a line or more about what was found; what is wrong goes to fail().
instrument_report()
{
	case $instrument in
		coverage)
			cp -a "$instrument_dir/src" "build/$instrument_build/" || { fail "no counters were written"; return; }
			lcov -q -c -d "build/$instrument_build" --include "$PWD/src/*" -o build/coverage.info 2>/dev/null ||
				{ fail "lcov"; return; }
			printf '\ncoverage, least covered last (build/coverage.info; genhtml makes pages of it):\n'
			lcov --list build/coverage.info 2>/dev/null | sed -nE 's/^([a-z_/]+\.[ch]) *\| *([0-9.]+)% *([0-9]+).*/\2 % of \3 lines  \1/p' | sort -rn | tail -n 20
			lcov --summary build/coverage.info 2>/dev/null | sed -nE 's/^ *lines\.*: ([0-9.]+)% \(([0-9]+) of ([0-9]+) lines\)/coverage: \1 % (\2 of \3 lines of src)/p'
			;;
		valgrind)
			# blocks of a report are apart by lines that are empty but for the process; each kind once
			cat "$instrument_dir"/*.log 2>/dev/null | sed -E 's/^==[0-9]+== ?//; s/0x[0-9A-F]+/0x.../g' |
				awk -v ours="$PWD/src/" 'BEGIN { RS = ""; ORS = "\n\n" } index($0, ours) && !seen[$0]++' >"$work/valgrind.txt"
			if [ -s "$work/valgrind.txt" ]; then
				head -n 200 "$work/valgrind.txt"
				mkdir -p "$output"
				cp "$work/valgrind.txt" "$output/"
				fail "valgrind: $(grep -c '^$' "$work/valgrind.txt") reports, in $output/valgrind.txt"
			fi
			;;
		pauses)
			mkdir -p "$output"
			cp "$instrument_dir/pauses" "$output/"
			printf '\n%s pauses (%s/pauses)\n' "$(wc -l <"$instrument_dir/pauses")" "$output"
			;;
	esac
}
