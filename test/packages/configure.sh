#!/bin/bash
# Set the server of this machine as docs/packages.md says, and restart it.
set -euo pipefail
pg_conftool 15 main set shared_preload_libraries pg_derive
pg_conftool 15 main set wal_level logical
pg_conftool 15 main set max_worker_processes 16
pg_ctlcluster 15 main restart 2>/dev/null || pg_ctlcluster 15 main start
