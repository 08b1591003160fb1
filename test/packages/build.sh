#!/bin/bash
# In a minimal Debian: build Debian packages from the archive of "make dist", as an ordinary user, and have lintian
# look at them.  /srv/dist has the archive, and debian/ beside it; the packages come to /srv/packages.
set -euo pipefail
archive=$(echo /srv/dist/pg_derive-*.tar.gz)
version=${archive##*/pg_derive-}
version=${version%.tar.gz}

echo "installing what packages are built with"
apt-get install -q -y --no-install-recommends dpkg-dev lintian >/dev/null
mkdir -p /srv/build
cp "$archive" "/srv/build/pg-derive_$version.orig.tar.gz"
tar -xf "$archive" -C /srv/build
cp -a /srv/dist/debian "/srv/build/pg_derive-$version/"
apt-get build-dep -q -y --no-install-recommends "/srv/build/pg_derive-$version" >/dev/null
useradd --system --home-dir /srv/build builder
chown -R builder: /srv/build
cd "/srv/build/pg_derive-$version"

echo "dpkg-buildpackage"
runuser -u builder -- env DEB_BUILD_OPTIONS="parallel=$(nproc)" dpkg-buildpackage -us -uc >/srv/build/log 2>&1 || { tail -n 60 /srv/build/log; exit 1; }
! grep -E 'warning: ' /srv/build/log || { echo "the build has warnings"; exit 1; }
mkdir -p /srv/packages
mv ../*.deb ../*.dsc ../*.buildinfo ../*.changes ../*.tar.* /srv/packages/

echo "lintian"
cd /srv/packages
runuser -u builder -- lintian --fail-on error,warning ./*.changes
ls ./*.deb
