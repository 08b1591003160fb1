# shellcheck shell=bash
# common.sh: what quickstart, tools/test and .ci/run share.  To be sourced by bash.
#
# Three questions, answered in one place: which PostgreSQL do we use, what has
# to be installed for it, and as which user does a server run (PostgreSQL
# refuses to run as root).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
supported_versions="18 17 16 15"

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$1" >&2
	shift
	[ $# -eq 0 ] || printf '  %s\n' "$@" >&2
	exit 1
}

# --- which PostgreSQL -------------------------------------------------------

# A pg_config is good for us if it has a version we support, and with it a
# server, PGXS and the server's headers.  Debian has these in three packages:
# server, client (!) and development files.
usable_pg_config()
{
	local version

	command -v "$1" >/dev/null 2>&1 || return 1
	version=$("$1" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	case " $supported_versions " in *" ${version:-none} "*) ;; *) return 1 ;; esac
	[ -x "$("$1" --bindir)/postgres" ] && [ -f "$("$1" --pgxs)" ] && [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# Sets PG_CONFIG and pg_bin; fails where there is none.  A PG_CONFIG other than
# plain "pg_config" is somebody's wish, and no other will do.
find_postgres()
{
	local candidate candidates=${PG_CONFIG:-pg_config}

	[ "$candidates" != pg_config ] ||
		candidates="pg_config $(printf '/usr/lib/postgresql/%s/bin/pg_config ' $supported_versions)"
	for candidate in $candidates; do
		if usable_pg_config "$candidate"; then
			PG_CONFIG=$candidate
			pg_bin=$("$PG_CONFIG" --bindir)
			export PG_CONFIG
			return 0
		fi
	done
	return 1
}

# --- what has to be installed -----------------------------------------------

# The major version to install: the one that was asked for, else one whose
# server is here already, else the newest that the package lists offer.
debian_postgres_version()
{
	local version

	for version in $supported_versions; do
		[ "${PG_CONFIG:-}" = "/usr/lib/postgresql/$version/bin/pg_config" ] && echo "$version" && return
	done
	for version in $supported_versions; do
		[ -x "/usr/lib/postgresql/$version/bin/postgres" ] && echo "$version" && return
	done
	for version in $supported_versions; do
		apt-cache show "postgresql-server-dev-$version" >/dev/null 2>&1 && echo "$version" && return
	done
	echo 15
}

# Debian packages that are missing for the programs in C that use client/.
missing_for_client()
{
	command -v pkg-config >/dev/null || echo pkg-config
	[ -e /usr/include/libpq-fe.h ] || [ -e /usr/include/postgresql/libpq-fe.h ] || echo libpq-dev
}

# Debian packages that are missing for these purposes: build, test, gateway, programs, browser, kafka, coverage, valgrind, pauses,
# fuzz, scenario, lint; npm, python, maven, pgbouncer, activerecord for clients.
# None that is there is named: installing it could upgrade a server that runs.
missing_packages()
{
	local purpose version folder

	command -v gcc >/dev/null || echo gcc
	[ -f /usr/include/stdio.h ] || echo libc6-dev
	command -v make >/dev/null || echo make
	if find_postgres; then
		folder=$pg_bin/..
		version=$("$PG_CONFIG" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	else
		version=$(debian_postgres_version)
		folder=/usr/lib/postgresql/$version
		[ -x "$folder/bin/postgres" ] || echo "postgresql-$version"
		[ -f "/usr/include/postgresql/$version/server/postgres.h" ] || echo "postgresql-server-dev-$version"
	fi
	for purpose in "$@"; do
		case $purpose in
			test)
				perl -MIPC::Run -e 1 2>/dev/null || echo libipc-run-perl
				perl -MTest::More -e 1 2>/dev/null || echo perl
				# for Debian's own server, where it is to be had; without it a test is skipped
				[ -e "$folder/lib/pgaudit.so" ] || [ "$(realpath -m "$folder")" != "/usr/lib/postgresql/$version" ] ||
					! may_install || ! apt-cache show "postgresql-$version-pgaudit" >/dev/null 2>&1 || echo "postgresql-$version-pgaudit"
				;;
			kafka)
				# the program, then what its tests run
				missing_for_client
				[ -f /usr/include/librdkafka/rdkafka.h ] || echo librdkafka-dev
				command -v java >/dev/null || echo default-jre-headless
				command -v mvn >/dev/null || echo maven
				command -v kcat >/dev/null || echo kcat
				;;
			gateway|programs)
				# the gateway, and its clients in tests
				missing_for_client
				[ -e /usr/include/libwebsockets.h ] || echo libwebsockets-dev
				[ -e /usr/include/jwt.h ] || echo libjwt-dev
				[ -e /usr/include/jansson.h ] || echo libjansson-dev
				[ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
				command -v python3 >/dev/null || echo python3
				command -v openssl >/dev/null || echo openssl
				command -v curl >/dev/null || echo curl
				;;
			browser)
				# of the test of the live page
				command -v chromium >/dev/null || echo chromium
				command -v chromedriver >/dev/null || echo chromium-driver
				;;
			fuzz-gateway)
				command -v clang >/dev/null || echo clang
				# libFuzzer, and the sanitizers for clang
				compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null ||
					apt-cache depends clang 2>/dev/null | sed -nE 's/.*Depends: clang-([0-9]+)$/libclang-rt-\1-dev/p'
				;;
			coverage) command -v lcov >/dev/null || echo lcov ;;
			valgrind) command -v valgrind >/dev/null || echo valgrind ;;
			fuzz|scenario|pauses) command -v python3 >/dev/null || echo python3 ;;
			npm) command -v npm >/dev/null || echo npm ;;
			python) python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv ;;
			maven)
				command -v mvn >/dev/null || echo maven
				command -v javac >/dev/null || echo default-jdk-headless
				;;
			pgbouncer) [ -x /usr/sbin/pgbouncer ] || echo pgbouncer ;;
			activerecord)
				ruby -e 'require "active_record"' 2>/dev/null || echo ruby-activerecord
				ruby -e 'require "pg"' 2>/dev/null || echo ruby-pg
				;;
			lint)
				command -v pg_bsd_indent >/dev/null || echo pg-bsd-indent
				command -v python3 >/dev/null || echo python3
				;;
		esac
	done
}

# Set sudo to what apt-get needs in front; fail where we may not install.
may_install()
{
	sudo=
	command -v apt-get >/dev/null || return 1
	[ "$(id -u)" -eq 0 ] && return 0
	sudo=sudo
	command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }
}

# Debian's recommended packages stay out.  What is asked for is said first, with its size.
apt_install()
{
	local command log status

	command="apt-get install -q --no-install-recommends $*"
	log=$(mktemp)
	echo "  installing: $*"
	LC_ALL=C $command --assume-no 2>/dev/null |
		sed -nE 's/^Need to get ([^ ]+) ([kMG]?B)[ \/].*/    \1 \2 to fetch; this may take some minutes/p'
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive $command -y >"$log" 2>&1 </dev/null
	status=$?
	[ $status -eq 0 ] || tail -n 20 "$log" >&2
	rm -f "$log"
	return $status
}

# Install what is missing for some purposes, or say what to install.
install_prerequisites()
{
	local packages sudo

	packages=$(missing_packages "$@" | xargs)
	if [ -n "$packages" ]; then
		if ! command -v apt-get >/dev/null; then
			die "some programs are missing" "Debian calls their packages: $packages"
		fi
		may_install || die "some packages are missing, and only root may install them" \
			"As root: apt-get update && apt-get install --no-install-recommends $packages"
		echo "  missing: $packages; fetching the list of packages"
		$sudo apt-get update -q >/dev/null || echo "apt-get update failed; trying with the lists that are there" >&2
		# the lists may know a newer PostgreSQL
		packages=$(missing_packages "$@" | xargs)
		# shellcheck disable=SC2086
		apt_install $packages || die "could not install: $packages"
	fi
	find_postgres || die "no PostgreSQL server between 15 and 18 with its development files was found" \
		"Set PG_CONFIG to the pg_config of one, or install postgresql-15 and postgresql-server-dev-15."
}

# --- as which user ----------------------------------------------------------

# The user that runs servers: ourselves, or as root an ordinary one.
server_user()
{
	if [ "$(id -u)" -ne 0 ]; then
		id -un
	elif id postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

# Run a command as that user.  The environment stays, except for what belongs
# to root's own sessions.
as_server_user()
{
	if [ "$(id -u)" -ne 0 ]; then
		"$@"
	else
		runuser -u "$(server_user)" -- "$@"
	fi
}

# --- settings of a private server -------------------------------------------

# Lines of postgresql.conf that make a server find an extension installed with
# DESTDIR=$1, whatever the version.  Unknown settings stop a server from
# starting, so the server is asked which ones it has.
private_install_settings()
{
	local inst=$1 known

	known=$(cd / && as_server_user "$pg_bin/postgres" --describe-config | cut -f 1)
	if grep -qx extension_destdir <<<"$known"; then
		echo "extension_destdir = '$inst'"
	elif grep -qx extension_control_path <<<"$known"; then
		echo "extension_control_path = '$inst$("$PG_CONFIG" --sharedir):\$system'"
	else
		die "this PostgreSQL server cannot use an extension from a private folder" \
			"Debian's packages of 15 to 18 can, and every server from 18 on." \
			"Otherwise: make install, then make installcheck (see CONTRIBUTING.md)."
	fi
	echo "dynamic_library_path = '$inst$("$PG_CONFIG" --pkglibdir):\$libdir'"
	if grep -qx output_plugin_libraries <<<"$known"; then
		echo "output_plugin_libraries = 'pgoutput, test_decoding, pg_derive'"
	fi
}
