# shellcheck shell=bash
# unpack.sh: PostgreSQL servers of other Debian releases, for tools/other-versions and
# tools/test-upgrade.  To be sourced after common.sh.
#
# The server of a version is unpacked, not installed, into a cache folder
# (PG_DERIVE_CACHE) and kept there; removing the folder fetches it anew.  It
# runs on this machine with the C library of its own release; the extension is
# built with the compiler of this one.  JIT is left out.
#
# Debian only, as root (mmdebstrap, patchelf).

cache=${PG_DERIVE_CACHE:-/var/cache/pg_derive}
declare -A suites=([17]=trixie [18]=forky)

# Unpack the server and the headers of a version into a folder.
unpack()
{
	local suite=$1 version=$2 target=$3 scratch lib file

	scratch=$(mktemp -d) && chmod 755 "$scratch"
	# shellcheck disable=SC2016
	mmdebstrap --quiet --mode=root --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
		--include="postgresql-$version" \
		--extract-hook='cd "$1" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q download postgresql-server-dev-'"$version"' && for d in *.deb; do dpkg -x "$d" . && rm "$d" || exit 1; done' \
		"$suite" "$scratch/suite" || { rm -rf "$scratch"; return 1; }

	lib=$target/usr/lib/$(gcc -print-multiarch)
	mkdir -p "$target/usr/lib/postgresql" "$target/usr/share" "$lib"
	cp -a "$scratch/suite/usr/lib/postgresql/$version" "$target/usr/lib/postgresql/"
	cp -a "$scratch/suite/usr/share/postgresql" "$target/usr/share/"
	cp -a "$scratch/suite/usr/include" "$target/usr/"
	cp -aL "$scratch/suite/usr/lib/$(gcc -print-multiarch)"/*.so* "$lib/"
	rm -rf "$scratch" "$lib"/libLLVM* "$target/usr/lib/postgresql/$version/lib"/llvmjit*

	# Programs load the libraries that came with them.
	find "$target/usr/lib/postgresql/$version/bin" "$target/usr/lib/postgresql/$version/lib/pgxs" -type f | while read -r file; do
		[ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
		patchelf --set-interpreter "$(ls "$lib"/ld-linux*.so.* | head -n 1)" --force-rpath --set-rpath "$lib" "$file" || exit 1
	done || return

	# What the compiler and the headers of this machine do not know.
	sed -i 's/ -Wmissing-variable-declarations//g' "$target/usr/lib/postgresql/$version/lib/pgxs/src/Makefile.global"
	sed -i -E 's/^#define (HAVE_DECL_STRL(CPY|CAT)) 1/#define \1 0/; /^#define HAVE_STRL(CPY|CAT) /d' \
		"$target/usr/include/postgresql/$version/server/pg_config.h"
	usable_pg_config "$target/usr/lib/postgresql/$version/bin/pg_config"
}

install_unpacking_tools()
{
	local missing

	[ "$(id -u)" -eq 0 ] && may_install || die "only root can unpack other versions, on Debian"
	missing=$(for program in mmdebstrap patchelf gcc make; do command -v "$program" >/dev/null || echo "$program"; done | xargs)
	if [ -n "$missing" ]; then
		apt-get update -q >/dev/null
		# shellcheck disable=SC2086
		apt_install $missing || die "could not install: $missing"
	fi
}

# Sets unpacked to the pg_config of a version, which is unpacked if it is not there.  One that
# cannot be had, also not by a second try, ends the program.
find_unpacked()
{
	local version=$1 target=$cache/$1 try

	[ -n "${suites[$version]:-}" ] || die "PostgreSQL $version is in no Debian release known here" "Versions: ${!suites[*]}"
	unpacked=$target/usr/lib/postgresql/$version/bin/pg_config
	[ ! -e "$target/complete" ] || return 0
	install_unpacking_tools
	echo "unpacking PostgreSQL $version of Debian ${suites[$version]}"
	mkdir -p "$cache"
	for try in 1 2; do
		rm -rf "$target"
		! unpack "${suites[$version]}" "$version" "$target" >"$cache/$version.log" 2>&1 || break
		[ "$try" -eq 1 ] || die "PostgreSQL $version could not be had (see $cache/$version.log)"
	done
	touch "$target/complete"
}

# A copy of the tree for the build of one version, in $copy: objects of two versions never meet.
copy_tree()
{
	copy=$(mktemp -d) && chmod 755 "$copy"
	tar cf - --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.d' --exclude='*.bc' --exclude='*.so' . | tar xf - -C "$copy"
}

# Keep the output of failed tests of the copy in build/$1, and remove the copy.
remove_copy()
{
	rm -rf "build/$1"
	if [ -d "$copy/build/test-output" ]; then
		mkdir -p "build/$(dirname "$1")"
		mv "$copy/build/test-output" "build/$1"
		echo "(output of failed tests is kept in build/$1)"
	fi
	rm -rf "$copy"
}
