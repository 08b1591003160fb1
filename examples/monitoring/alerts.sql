-- alerts.sql: one row for each thing that somebody should look at; none if all is well
SELECT 'view is ' || state AS alert, view::text AS what, coalesce(error, waiting_for, '') AS detail
FROM derive.views
WHERE state IN ('failed', 'paused', 'waiting', 'rebuilding')
UNION ALL
SELECT 'view is behind', view::text, concat_ws(', ', 'by ' || lag, 'waiting for ' || waiting_for)
FROM derive.views
WHERE state = 'ready' AND lag > '1 min'
UNION ALL
SELECT 'view is not built', view::text, phase
FROM derive.progress
WHERE state = 'queued' OR state IN ('building', 'catching up') AND started_at < now() - interval '1 hour'
UNION ALL
SELECT 'worker is ' || state, coalesce(slot, current_database()), coalesce(activity, '')
FROM derive.worker
WHERE state IN ('missing', 'starting')
UNION ALL
SELECT 'old row versions are held', view::text, held_age || ' transactions'
FROM derive.stats
WHERE held_age > 1000000
UNION ALL
SELECT 'slot is not read', slot_name, 'wal_status ' || coalesce(wal_status, 'lost')
FROM pg_replication_slots
WHERE plugin = 'pg_derive' AND slot_name LIKE 'pg\_derive\_%'
    AND (NOT active OR coalesce(wal_status, 'lost') NOT IN ('reserved', 'extended'))
UNION ALL
SELECT 'slot keeps much log', slot_name, pg_size_pretty(bytes)
FROM (SELECT slot_name, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
        restart_lsn) AS bytes
    FROM pg_replication_slots WHERE plugin = 'pg_derive') s
WHERE bytes > 10::numeric * 1024 ^ 3
UNION ALL
SELECT 'subscription is ' || state, subscriber, coalesce(behind || ' rows behind', 'must start anew')
FROM derive.subscriptions
WHERE state = 'lost' OR behind > 100000
ORDER BY 1, 2;
