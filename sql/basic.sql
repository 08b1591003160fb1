-- Declaring, reading, pausing, releasing.
CREATE TABLE customers (id int PRIMARY KEY, region text, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, amount numeric(10,2), placed_at timestamp);
CREATE INDEX ON orders (customer_id);
INSERT INTO customers SELECT i, (ARRAY['EU', 'US', 'ASIA'])[1 + i % 3], 'customer ' || i FROM generate_series(1, 30) i;
INSERT INTO orders SELECT i, 1 + i % 30, i * 1.25, timestamp '2026-01-01' + i * interval '1 hour' FROM generate_series(1, 300) i;

SELECT derive.create_view('order_totals', $$
  SELECT c.region, count(*) AS orders, sum(o.amount) AS total, avg(o.amount), max(o.placed_at)
  FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.region $$);
SELECT derive.wait('order_totals');
SELECT * FROM order_totals ORDER BY region;
SELECT oracle('order_totals');

-- it follows
INSERT INTO orders VALUES (1001, 3, 1000000, '2027-01-01');
SELECT derive.wait('order_totals');
SELECT region, max FROM order_totals WHERE max >= '2027-01-01';
UPDATE orders SET amount = amount + 1 WHERE id % 7 = 0;
DELETE FROM orders WHERE id = 1001;
UPDATE customers SET region = 'AFRICA' WHERE id % 10 = 0;
SELECT oracle('order_totals');
BEGIN;
INSERT INTO orders VALUES (2001, 3, 1, '2027-01-01');
SAVEPOINT s;
DELETE FROM orders;
ROLLBACK TO s;
UPDATE customers SET region = NULL WHERE id = 5;
COMMIT;
BEGIN;
DELETE FROM customers;
ROLLBACK;
SELECT oracle('order_totals');
DELETE FROM orders;
SELECT oracle('order_totals');
SELECT count(*) FROM order_totals;
INSERT INTO orders SELECT i, 1 + i % 30, i * 1.25, now() FROM generate_series(1, 50) i;
SELECT oracle('order_totals');

-- an existing materialized view, populated or not
CREATE MATERIALIZED VIEW per_customer AS SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW all_orders AS SELECT id, amount FROM orders WITH NO DATA;
SELECT derive.maintain('per_customer');
SELECT derive.maintain('all_orders');
INSERT INTO orders VALUES (3001, 3, 1, '2027-01-01');
SELECT oracle('per_customer');
SELECT oracle('all_orders');
SELECT derive.maintain('all_orders');
SELECT derive.create_view('order_totals', 'SELECT 1');

-- REFRESH means: make it right
REFRESH MATERIALIZED VIEW per_customer;
SELECT oracle('per_customer');
REFRESH MATERIALIZED VIEW CONCURRENTLY per_customer;
SELECT oracle('per_customer');
REFRESH MATERIALIZED VIEW per_customer WITH NO DATA;
SELECT derive.repair('per_customer');
SELECT oracle('per_customer');
INSERT INTO per_customer VALUES (1, 1);

-- pause and resume
SELECT derive.pause('all_orders');
INSERT INTO orders VALUES (4001, 3, 1, '2027-01-01');
SELECT derive.wait('per_customer');
SELECT derive.wait('all_orders');
SELECT count(*) FROM all_orders WHERE id = 4001;
SELECT state FROM derive.views WHERE view = 'all_orders'::regclass;
SELECT derive.resume('all_orders');
SELECT oracle('all_orders');
SELECT count(*) FROM all_orders WHERE id = 4001;

-- release: an ordinary materialized view again
SELECT derive.release('all_orders');
INSERT INTO orders VALUES (5001, 3, 1, '2027-01-01');
SELECT derive.wait();
SELECT count(*) FROM all_orders WHERE id = 5001;
REFRESH MATERIALIZED VIEW all_orders;
SELECT count(*) FROM all_orders WHERE id = 5001;
SELECT derive.release('all_orders');
SELECT derive.wait('all_orders');

-- DDL on a maintained view
ALTER MATERIALIZED VIEW per_customer RENAME TO by_customer;
CREATE SCHEMA elsewhere;
ALTER MATERIALIZED VIEW by_customer SET SCHEMA elsewhere;
CREATE INDEX ON elsewhere.by_customer (n);
COMMENT ON MATERIALIZED VIEW elsewhere.by_customer IS 'orders of each customer';
VACUUM FULL elsewhere.by_customer;
ALTER MATERIALIZED VIEW elsewhere.by_customer SET (fillfactor = 50);
DELETE FROM orders WHERE id % 3 = 0;
SELECT oracle('elsewhere.by_customer');
SELECT oracle('order_totals');

-- in one transaction with its table; and rolled back
BEGIN;
CREATE TABLE fresh (a int);
INSERT INTO fresh VALUES (1), (2);
SELECT derive.create_view('fresh_sum', 'SELECT sum(a) FROM fresh');
INSERT INTO fresh VALUES (3);
COMMIT;
SELECT derive.wait('fresh_sum');
SELECT * FROM fresh_sum;
BEGIN;
SELECT derive.create_view('never', 'SELECT a FROM fresh');
ROLLBACK;
SELECT oracle('fresh_sum');
TRUNCATE fresh;
SELECT oracle('fresh_sum');
SELECT * FROM fresh_sum;

-- dropping leaves nothing behind
DROP MATERIALIZED VIEW order_totals, elsewhere.by_customer, fresh_sum;
DROP MATERIALIZED VIEW all_orders;
SELECT count(*) FROM derive.views;
SELECT count(*) FROM pg_class c WHERE relnamespace = 'derive_state'::regnamespace AND relname ~ '^(state|rows)_';
DROP TABLE orders, customers, fresh;
DROP SCHEMA elsewhere;
