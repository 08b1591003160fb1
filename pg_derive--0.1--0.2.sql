/* pg_derive--0.1--0.2.sql: from version 0.1 to version 0.2 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION or ALTER EXTENSION
\echo Use "ALTER EXTENSION pg_derive UPDATE TO '0.2'" to load this file. \quit

/*
 * People may have views over ours, and grants on them: what was there is replaced, never
 * dropped.
 */

-- it also says that the log which is kept for a worker comes near to where it is given up
CREATE OR REPLACE FUNCTION derive.health(
	max_lag interval DEFAULT '1 min',
	OUT ok boolean,
	OUT problems text[],
	OUT views int8,
	OUT ready int8,
	OUT failed int8,
	OUT lag interval,
	OUT retained_bytes int8)
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	WITH views AS (SELECT v.view::text AS name, v.state, v.waiting_for, v.lag, v.since FROM derive.views v),
		worker AS (
			SELECT w.group_name,
				CASE WHEN w.group_name <> 'default' THEN format(' of group %s', w.group_name) END AS of_group,
				w.state,
				w.activity,
				w.retained_bytes,
				nullif(pg_size_bytes(current_setting('pg_derive.max_wal_backlog', true)), 0) AS max_bytes
			FROM derive.worker w),
		problem(rank, sentence) AS (
			SELECT 1, format('"%s" %s', c.setting, c.needed)
			FROM derive.check() c
			WHERE NOT c.ok AND EXISTS (SELECT FROM views)
			UNION ALL
			SELECT 2, concat_ws(': ', format('the worker%s is %s', w.of_group, w.state), w.activity)
			FROM worker w
			WHERE w.state = 'missing'
			UNION ALL
			SELECT 3, format('view %s has failed', v.name)
			FROM views v
			WHERE v.state = 'failed'
			UNION ALL
			SELECT 4, format('view %s is %s behind%s', v.name, v.lag, ': ' || v.waiting_for)
			FROM views v
			WHERE v.state NOT IN ('failed', 'paused') AND v.lag > max_lag
			UNION ALL
			SELECT 5, format('subscription %s is lost', s.subscriber)
			FROM derive.subscriptions s
			WHERE s.state = 'lost'
			UNION ALL
			SELECT 6, format('%s of the log are kept for the worker%s, which may be at most %s',
				pg_size_pretty(w.retained_bytes), w.of_group, pg_size_pretty(w.max_bytes))
			FROM worker w
			WHERE w.retained_bytes > w.max_bytes * 0.8)
	SELECT NOT EXISTS (SELECT FROM problem),
		coalesce((SELECT array_agg(p.sentence ORDER BY p.rank, p.sentence) FROM problem p), '{}'),
		count(*),
		count(*) FILTER (WHERE v.state = 'ready'),
		count(*) FILTER (WHERE v.state = 'failed'),
		max(v.lag) FILTER (WHERE v.state <> 'paused'),
		(SELECT max(w.retained_bytes) FROM worker w)
	FROM views v;
END;
