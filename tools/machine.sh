# shellcheck shell=bash
# machine.sh: minimal Debian systems in folders, for tests of what is installed into a system.
# To be sourced after common.sh.
#
# A machine is a folder with the packages that every Debian has, certificates, and nothing
# else: of the release of this machine, from where this machine has its packages.  What is
# run in one has namespaces of its own for mounts and processes, so that nothing of it is
# left when it ends, whatever it has started, and /proc and /dev are never in a folder that
# is about to be removed.  The network is that of this machine, so a port may be taken.
#
#	new_machine FOLDER
#	inside FOLDER COMMAND...		in it, as root; standard input is passed on
#
# Debian only, as root (mmdebstrap).  The first machine is kept as an archive in
# PG_DERIVE_CACHE, from which others are made; removing it fetches it anew.

machine_cache=${PG_DERIVE_CACHE:-/var/cache/pg_derive}

# Where this machine has its packages, as files that apt reads.
package_sources()
{
	local file

	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
		! grep -qsE '^(deb |URIs:)' "$file" || echo "$file"
	done
}

machine_archive()
{
	local release archive

	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	archive=$machine_cache/minimal-$release.tar
	if [ ! -e "$archive" ]; then
		if ! command -v mmdebstrap >/dev/null; then
			apt-get update -q >/dev/null
			apt_install mmdebstrap >&2 || die "could not install mmdebstrap"
		fi
		mkdir -p "$machine_cache"
		# shellcheck disable=SC2046
		mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates "$release" "${archive%.tar}.part.tar" $(package_sources) >&2 ||
			die "a minimal Debian could not be had"
		mv "${archive%.tar}.part.tar" "$archive"
	fi
	echo "$archive"
}

new_machine()
{
	local folder=$1 archive

	[ "$(id -u)" -eq 0 ] && may_install || die "only root can make a minimal system, on Debian"
	archive=$(machine_archive) || exit
	mkdir -p "$folder"
	tar -C "$folder" -xf "$archive"
	# how this machine reaches the network
	cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
	cp -a /etc/apt/apt.conf.d/. "$folder/etc/apt/apt.conf.d/"
	cp -a /usr/local/share/ca-certificates/. "$folder/usr/local/share/ca-certificates/" 2>/dev/null
	inside "$folder" sh -c 'update-ca-certificates >/dev/null 2>&1; apt-get update -q >/dev/null'
}

inside()
{
	local folder=$1
	shift
	# shellcheck disable=SC2016
	unshare --mount --pid --ipc --fork --kill-child -- bash -euc '
		folder=$1; shift
		mount -t proc proc "$folder/proc"
		mount --rbind /dev "$folder/dev"
		mount -t tmpfs tmpfs "$folder/dev/shm"
		mount -t tmpfs tmpfs "$folder/run"
		mkdir -m 1777 "$folder/run/lock"
		exec chroot "$folder" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TERM=dumb \
			DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"' bash "$folder" "$@"
}
