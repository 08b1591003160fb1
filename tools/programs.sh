# shellcheck shell=bash
# programs.sh: what single tests need besides PostgreSQL, for tools/test.  To be sourced after
# common.sh.
#
# A test says so in its first lines:
#
#	# Debian programs: prometheus prometheus-postgres-exporter
#	# npm packages: test/monitoring
#
# Packages of Debian are unpacked and not installed, since their installation would start
# services on this machine.  Their programs are in the folder that DERIVE_PROGRAMS names
# then.  Packages of npm are installed into the copy of the folder that has a package.json.
#
# What cannot be had is a failure.

# What the tests that are to run say after "# $1: ", one a line, each once.
needs_of_tests()
{
	# there may be no tests
	# shellcheck disable=SC2086
	sed -nE "s/^# $1: //p" ${PROVE_TESTS:-} ${PROGRAM_TESTS:-} /dev/null | tr -s ' ' '\n' | sort -u
}

# Sets programs to a folder with the programs of Debian packages, which is kept.
find_programs()
{
	local folder package

	[ $# -gt 0 ] || return 0
	programs=build/programs
	# what is to be run by another user has to be where that one can read it
	[ "$(id -u)" -ne 0 ] || programs=${PG_DERIVE_CACHE:-/var/cache/pg_derive}/programs
	for package in "$@"; do
		folder=$programs/$package
		[ ! -e "$folder/complete" ] || continue
		command -v apt-get >/dev/null || die "$package is needed, which is unpacked from Debian's package of this name"
		echo "unpacking $package"
		mkdir -p "$folder" && chmod 755 "$programs" "$folder"
		( cd "$folder" && { apt-get -q download "$package" || { [ "$(id -u)" -eq 0 ] && apt-get update -q && apt-get -q download "$package"; }; } &&
			dpkg -x ./*.deb . && rm ./*.deb && touch complete ) >"$programs/$package.log" 2>&1 ||
			die "Debian's package $package could not be had" "$(tail -n 3 "$programs/$package.log")"
	done
	programs=$(cd "$programs" && pwd)
}

# Install npm packages for folders of the copied tree.
install_npm_packages()
{
	local folder

	for folder in $(needs_of_tests 'npm packages'); do
		( cd "$1/$folder" && { npm ci --ignore-scripts --no-audit --no-fund --silent || { sleep 5; npm ci --ignore-scripts --no-audit --no-fund; }; } ) ||
			die "the npm packages of $folder could not be had"
	done
}
