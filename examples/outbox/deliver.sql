-- deliver.sql: one round of the loop; waits up to 30 seconds for something to do
BEGIN;
INSERT INTO outbox (kind, body)
    SELECT CASE operation WHEN 'delete' THEN 'settled' ELSE 'reminder' END, coalesce(new, old)
    FROM derive.poll('reminders', max_rows => 100, timeout => '30 s');
COMMIT;
