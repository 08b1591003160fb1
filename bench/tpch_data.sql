-- tpch_data.sql: the eight tables of TPC-H with data of our own in its shape.
--
--	psql -X -q -v ON_ERROR_STOP=1 -v scale=0.1 -f bench/tpch_data.sql
--
-- Scale 1 has 10,000 suppliers, 150,000 customers, 200,000 parts, 800,000 partsupp, 1,500,000 orders and about
-- 6,000,000 lines; the default is 1, the least that works 0.01.
--
-- Names, types, lists of words and distributions are those of the TPC-H specification (4.2.2 and 4.2.3), so that its
-- queries select about what they were meant to select.  The values are not those of its program dbgen: each one is a
-- hash of the row's number and of a seed that belongs to the column.  So the same scale gives the same rows
-- everywhere, and any range of rows can be made by itself:
--
--	tpch.new_orders(first, last)	rows number first to last of orders; 1 to tpch.orders() are loaded, and those
--	tpch.new_lines(first, last)		behind them do not exist yet.  new_lines() makes the lines of the same orders.
--
--	tpch.insert_orders(first, last)	puts these into both tables
--	tpch.delete_lines(count, seed)	so many lines, of as many orders, go
--	tpch.update_lines(count, seed)	so many have another quantity, and are sent a week later
--	tpch.update_dimensions(count, seed)	so many rows of each of the other six tables have other values
--	tpch.update_orders(count, seed)	so many of the orders that are there, chosen from all of the table, are put off by
--	tpch.delete_orders(count, seed)		a week, with other quantities and priorities / go, with their lines
--
-- For instance order 9 has key 33 (of 32 keys, only the first 8 are used, as in TPC-H) and, by
-- 1 + tpch.pick(33, 41, 7), so many lines.  These functions are inlined where they are called: there is no loop in
-- PL/pgSQL and no file between the generator and the table.

\if :{?scale}
\else
	\set scale 1
\endif
BEGIN;
SET LOCAL jit = off;
SET LOCAL maintenance_work_mem = '512MB';

CREATE SCHEMA tpch;

-- --- how many rows --------------------------------------------------------

CREATE FUNCTION tpch.suppliers() RETURNS int IMMUTABLE RETURN (:scale * 10000)::int;
CREATE FUNCTION tpch.customers() RETURNS int IMMUTABLE RETURN (:scale * 150000)::int;
CREATE FUNCTION tpch.parts() RETURNS int IMMUTABLE RETURN (:scale * 200000)::int;
CREATE FUNCTION tpch.orders() RETURNS int IMMUTABLE RETURN (:scale * 1500000)::int;
CREATE FUNCTION tpch.clerks() RETURNS int IMMUTABLE RETURN (:scale * 1000)::int;
-- With less, the four suppliers of a part would not be four.
DO $$ BEGIN ASSERT tpch.suppliers() >= 100, 'the scale is less than 0.01'; END $$;

-- --- values ---------------------------------------------------------------

-- 0 to choices - 1
CREATE FUNCTION tpch.pick(n bigint, seed int, choices int) RETURNS int IMMUTABLE
	RETURN (hashint8extended(n, seed) & 2147483647) % choices;

-- low to high, in steps of a cent
CREATE FUNCTION tpch.money(n bigint, seed int, low int, high int) RETURNS numeric IMMUTABLE
	RETURN (low + tpch.pick(n, seed, high - low + 1)) * 0.01;

CREATE FUNCTION tpch.padded(name text, key int) RETURNS text IMMUTABLE
	RETURN name || lpad(key::text, 9, '0');

CREATE FUNCTION tpch.address(n bigint, seed int) RETURNS text IMMUTABLE
	RETURN left(to_hex(hashint8extended(n, seed)) || to_hex(hashint8extended(n, seed + 1)) || to_hex(hashint8extended(n, seed + 2)),
		10 + tpch.pick(n, seed, 31));

CREATE FUNCTION tpch.phone(n bigint, seed int, nation int) RETURNS text IMMUTABLE
	RETURN (10 + nation) || '-' || (100 + tpch.pick(n, seed, 900)) || '-' || (100 + tpch.pick(n, seed + 1, 900))
		|| '-' || (1000 + tpch.pick(n, seed + 2, 9000));

-- A piece of text, of so many letters.
CREATE FUNCTION tpch.comment(n bigint, seed int, low int, high int) RETURNS text IMMUTABLE
	RETURN substr('the furiously regular foxes nag carefully above the final ideas. quickly pending deposits sleep '
		'according to the slyly bold accounts; blithely ironic packages haggle among the even theodolites. silent '
		'pinto beans wake daringly; instructions detect fluffily along the express platelets. ruthless dependencies '
		'boost after the unusual excuses, closely busy courts cajole about the sentiments. never idle asymptotes '
		'integrate before the warthogs. thin frets believe ideas between the stealthy sauternes, dogged dolphins '
		'doze beneath the patterns. enticing realms solve through the permanently brave epitaphs: waters snooze '
		'quietly at the ruthlessly final pains. sometimes careful tithes affix outside the dugouts, finally '
		'special braids unwind past the sheaves. ideas kindle the thinly quick orbits near the attainments, '
		'somas print without the blithe decoys. hockey players x-ray under the busily fluffy gifts; requests '
		'hinder toward the grouches. escapades run up the platelets, even theodolites lose the slow pearls.',
		1 + tpch.pick(n, seed, 1000 - high), low + tpch.pick(n, seed + 1, high - low + 1));

CREATE FUNCTION tpch.color(n bigint, seed int) RETURNS text IMMUTABLE
	RETURN (ARRAY['almond', 'antique', 'aquamarine', 'azure', 'beige', 'bisque', 'black', 'blanched', 'blue', 'blush',
		'brown', 'burlywood', 'burnished', 'chartreuse', 'chiffon', 'chocolate', 'coral', 'cornflower', 'cornsilk',
		'cream', 'cyan', 'dark', 'deep', 'dim', 'dodger', 'drab', 'firebrick', 'floral', 'forest', 'frosted',
		'gainsboro', 'ghost', 'goldenrod', 'green', 'grey', 'honeydew', 'hot', 'indian', 'ivory', 'khaki', 'lace',
		'lavender', 'lawn', 'lemon', 'light', 'lime', 'linen', 'magenta', 'maroon', 'medium', 'metallic', 'midnight',
		'mint', 'misty', 'moccasin', 'navajo', 'navy', 'olive', 'orange', 'orchid', 'pale', 'papaya', 'peach', 'peru',
		'pink', 'plum', 'powder', 'puff', 'purple', 'red', 'rose', 'rosy', 'royal', 'saddle', 'salmon', 'sandy',
		'seashell', 'sienna', 'sky', 'slate', 'smoke', 'snow', 'spring', 'steel', 'tan', 'thistle', 'tomato',
		'turquoise', 'violet', 'wheat', 'white', 'yellow'])[1 + tpch.pick(n, seed, 92)];

CREATE FUNCTION tpch.retail_cents(part int) RETURNS int IMMUTABLE
	RETURN 90000 + (part / 10) % 20001 + 100 * (part % 1000);

-- The supplier number 0 to 3 of a part.
CREATE FUNCTION tpch.part_supplier(part int, number int) RETURNS int IMMUTABLE
	RETURN (part + number * (tpch.suppliers() / 4 + (part - 1) / tpch.suppliers())) % tpch.suppliers() + 1;

CREATE FUNCTION tpch.order_key(number bigint) RETURNS int IMMUTABLE
	RETURN (number - 1) / 8 * 32 + (number - 1) % 8 + 1;

CREATE FUNCTION tpch.order_date(orderkey int) RETURNS date IMMUTABLE
	RETURN date '1992-01-01' + tpch.pick(orderkey, 1, date '1998-08-02' - date '1992-01-01' + 1);

CREATE FUNCTION tpch.priority(number int) RETURNS text IMMUTABLE
	RETURN (ARRAY['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW'])[1 + number];

-- --- tables ---------------------------------------------------------------

CREATE TABLE region (
	r_regionkey integer NOT NULL, r_name char(25) NOT NULL, r_comment varchar(152));
CREATE TABLE nation (
	n_nationkey integer NOT NULL, n_name char(25) NOT NULL, n_regionkey integer NOT NULL, n_comment varchar(152));
CREATE TABLE supplier (
	s_suppkey integer NOT NULL, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL, s_nationkey integer NOT NULL,
	s_phone char(15) NOT NULL, s_acctbal decimal(15, 2) NOT NULL, s_comment varchar(101) NOT NULL);
CREATE TABLE customer (
	c_custkey integer NOT NULL, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL, c_nationkey integer NOT NULL,
	c_phone char(15) NOT NULL, c_acctbal decimal(15, 2) NOT NULL, c_mktsegment char(10) NOT NULL,
	c_comment varchar(117) NOT NULL);
CREATE TABLE part (
	p_partkey integer NOT NULL, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL, p_brand char(10) NOT NULL,
	p_type varchar(25) NOT NULL, p_size integer NOT NULL, p_container char(10) NOT NULL,
	p_retailprice decimal(15, 2) NOT NULL, p_comment varchar(23) NOT NULL);
CREATE TABLE partsupp (
	ps_partkey integer NOT NULL, ps_suppkey integer NOT NULL, ps_availqty integer NOT NULL,
	ps_supplycost decimal(15, 2) NOT NULL, ps_comment varchar(199) NOT NULL);
CREATE TABLE orders (
	o_orderkey integer NOT NULL, o_custkey integer NOT NULL, o_orderstatus char(1) NOT NULL,
	o_totalprice decimal(15, 2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL,
	o_clerk char(15) NOT NULL, o_shippriority integer NOT NULL, o_comment varchar(79) NOT NULL);
CREATE TABLE lineitem (
	l_orderkey integer NOT NULL, l_partkey integer NOT NULL, l_suppkey integer NOT NULL, l_linenumber integer NOT NULL,
	l_quantity decimal(15, 2) NOT NULL, l_extendedprice decimal(15, 2) NOT NULL, l_discount decimal(15, 2) NOT NULL,
	l_tax decimal(15, 2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL,
	l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL,
	l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL);

-- --- orders and their lines, any range of them ------------------------------

-- One to seven lines an order; a line is number 8 * orderkey + linenumber.  OFFSET 0: what several columns are made
-- of is computed once.
CREATE FUNCTION tpch.new_lines(first bigint, last bigint) RETURNS SETOF lineitem IMMUTABLE BEGIN ATOMIC
	SELECT orderkey, part, tpch.part_supplier(part, tpch.pick(line, 42, 4)), linenumber,
		quantity, quantity * tpch.retail_cents(part) * 0.01, tpch.pick(line, 44, 11) * 0.01, tpch.pick(line, 45, 9) * 0.01,
		CASE WHEN received > date '1995-06-17' THEN 'N' WHEN tpch.pick(line, 46, 2) = 0 THEN 'R' ELSE 'A' END,
		CASE WHEN shipped > date '1995-06-17' THEN 'O' ELSE 'F' END,
		shipped, ordered + 30 + tpch.pick(line, 47, 61), received,
		(ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + tpch.pick(line, 48, 4)],
		(ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])[1 + tpch.pick(line, 49, 7)],
		tpch.comment(line, 54, 10, 43)
	FROM generate_series(first, last) AS number,
		LATERAL (SELECT tpch.order_key(number) AS orderkey) AS o,
		LATERAL (SELECT tpch.order_date(orderkey) AS ordered) AS d,
		LATERAL generate_series(1, 1 + tpch.pick(orderkey, 41, 7)) AS linenumber,
		LATERAL (SELECT 8::bigint * orderkey + linenumber AS line) AS l,
		LATERAL (SELECT 1 + tpch.pick(line, 51, tpch.parts()) AS part, 1 + tpch.pick(line, 43, 50) AS quantity,
			ordered + 1 + tpch.pick(line, 52, 121) AS shipped OFFSET 0) AS s,
		LATERAL (SELECT shipped + 1 + tpch.pick(line, 53, 30) AS received) AS r;
END;

-- Every third customer has no order; 1 % of the comments match %special%requests%.
CREATE FUNCTION tpch.new_orders(first bigint, last bigint) RETURNS SETOF orders IMMUTABLE BEGIN ATOMIC
	SELECT orderkey, customer / 2 * 3 + customer % 2 + 1, status, total, tpch.order_date(orderkey),
		tpch.priority(tpch.pick(orderkey, 3, 5)),
		tpch.padded('Clerk#', 1 + tpch.pick(orderkey, 4, tpch.clerks())), 0,
		CASE WHEN tpch.pick(orderkey, 5, 100) = 0 THEN 'special packages: requests ' || tpch.comment(orderkey, 6, 5, 50)
			ELSE tpch.comment(orderkey, 6, 19, 78) END
	FROM generate_series(first, last) AS number,
		LATERAL (SELECT tpch.order_key(number) AS orderkey) AS o,
		LATERAL (SELECT tpch.pick(orderkey, 2, tpch.customers() / 3 * 2) AS customer) AS c,
		LATERAL (SELECT CASE WHEN min(l_linestatus) = max(l_linestatus) THEN min(l_linestatus) ELSE 'P' END AS status,
			round(sum(l_extendedprice * (1 + l_tax) * (1 - l_discount)), 2) AS total FROM tpch.new_lines(number, number)) AS l;
END;

-- --- changes: each call is one transaction, if nothing else is in it ------------

CREATE FUNCTION tpch.some_orders(count int, seed int) RETURNS SETOF int STABLE BEGIN ATOMIC
	SELECT o_orderkey FROM orders ORDER BY hashint8extended(o_orderkey, seed), o_orderkey LIMIT count;
END;

CREATE FUNCTION tpch.insert_orders(first bigint, last bigint) RETURNS void BEGIN ATOMIC
	INSERT INTO orders SELECT * FROM tpch.new_orders(first, last);
	INSERT INTO lineitem SELECT * FROM tpch.new_lines(first, last);
END;

CREATE FUNCTION tpch.update_orders(count int, seed int) RETURNS void BEGIN ATOMIC
	UPDATE lineitem SET l_quantity = l_quantity % 50 + 1, l_extendedprice = l_extendedprice / l_quantity * (l_quantity % 50 + 1),
		l_shipdate = l_shipdate + 7, l_commitdate = l_commitdate + 7, l_receiptdate = l_receiptdate + 7
	WHERE l_orderkey = ANY (ARRAY(SELECT tpch.some_orders(count, seed)));
	UPDATE orders SET o_orderdate = o_orderdate + 7, o_orderpriority = tpch.priority(left(o_orderpriority, 1)::int % 5),
		o_totalprice = (SELECT sum(l_extendedprice * (1 + l_tax) * (1 - l_discount)) FROM lineitem WHERE l_orderkey = o_orderkey)
	WHERE o_orderkey = ANY (ARRAY(SELECT tpch.some_orders(count, seed)));
END;

CREATE FUNCTION tpch.delete_orders(count int, seed int) RETURNS void BEGIN ATOMIC
	DELETE FROM lineitem WHERE l_orderkey = ANY (ARRAY(SELECT tpch.some_orders(count, seed)));
	DELETE FROM orders WHERE o_orderkey = ANY (ARRAY(SELECT tpch.some_orders(count, seed)));
END;

-- One line of each of so many orders.
CREATE FUNCTION tpch.delete_lines(count int, seed int) RETURNS void BEGIN ATOMIC
	DELETE FROM lineitem WHERE l_linenumber = 1 AND l_orderkey = ANY (ARRAY(SELECT tpch.some_orders(count, seed)));
END;

CREATE FUNCTION tpch.update_lines(count int, seed int) RETURNS void BEGIN ATOMIC
	UPDATE lineitem SET l_quantity = l_quantity % 50 + 1, l_extendedprice = l_extendedprice / l_quantity * (l_quantity % 50 + 1),
		l_shipdate = l_shipdate + 7, l_commitdate = l_commitdate + 7, l_receiptdate = l_receiptdate + 7
	WHERE l_linenumber = 1 AND l_orderkey = ANY (ARRAY(SELECT tpch.some_orders(count, seed)));
END;

-- So many rows of each table around the orders; of the small ones, all or as many as there are.
CREATE FUNCTION tpch.update_dimensions(count int, seed int) RETURNS void BEGIN ATOMIC
	UPDATE region SET r_comment = left(r_comment, 30) || seed;
	UPDATE nation SET n_comment = left(n_comment, 30) || seed WHERE n_nationkey < count;
	UPDATE supplier SET s_acctbal = s_acctbal + 1, s_comment = tpch.comment(s_suppkey, seed, 25, 100)
	WHERE s_suppkey IN (SELECT 1 + tpch.pick(number, seed, tpch.suppliers()) FROM generate_series(1, count) AS number);
	UPDATE customer SET c_acctbal = c_acctbal + 1,
		c_mktsegment = CASE WHEN c_mktsegment = 'BUILDING' THEN 'MACHINERY' ELSE 'BUILDING' END
	WHERE c_custkey IN (SELECT 1 + tpch.pick(number, seed + 1, tpch.customers()) FROM generate_series(1, count) AS number);
	UPDATE part SET p_size = p_size % 50 + 1, p_retailprice = p_retailprice + 1
	WHERE p_partkey IN (SELECT 1 + tpch.pick(number, seed + 2, tpch.parts()) FROM generate_series(1, count) AS number);
	UPDATE partsupp SET ps_availqty = ps_availqty % 9999 + 1, ps_supplycost = ps_supplycost + 1
	WHERE ps_partkey IN (SELECT 1 + tpch.pick(number, seed + 3, tpch.parts()) FROM generate_series(1, count) AS number);
END;

-- --- rows -----------------------------------------------------------------

INSERT INTO region
	SELECT number - 1, name, tpch.comment(number, 11, 31, 115)
	FROM unnest(ARRAY['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST']) WITH ORDINALITY AS list (name, number);

INSERT INTO nation
	SELECT number - 1, name, region, tpch.comment(number, 13, 31, 114)
	FROM ROWS FROM (
		unnest(ARRAY['ALGERIA', 'ARGENTINA', 'BRAZIL', 'CANADA', 'EGYPT', 'ETHIOPIA', 'FRANCE', 'GERMANY', 'INDIA',
			'INDONESIA', 'IRAN', 'IRAQ', 'JAPAN', 'JORDAN', 'KENYA', 'MOROCCO', 'MOZAMBIQUE', 'PERU', 'CHINA', 'ROMANIA',
			'SAUDI ARABIA', 'VIETNAM', 'RUSSIA', 'UNITED KINGDOM', 'UNITED STATES']),
		unnest(ARRAY[0, 1, 1, 1, 4, 0, 3, 3, 2, 2, 4, 4, 2, 4, 0, 0, 0, 1, 2, 3, 4, 2, 3, 3, 1])) WITH ORDINALITY AS list (name, region, number);

-- Five of 10,000 comments tell of complaints.
INSERT INTO supplier
	SELECT number, tpch.padded('Supplier#', number), tpch.address(number, 15), nation, tpch.phone(number, 18, nation),
		tpch.money(number, 21, -99999, 999999),
		CASE WHEN tpch.pick(number, 22, 2000) = 0 THEN 'Customer has many Complaints ' ELSE '' END || tpch.comment(number, 23, 25, 70)
	FROM generate_series(1, tpch.suppliers()) AS number, LATERAL (SELECT tpch.pick(number, 25, 25) AS nation) AS n;

INSERT INTO customer
	SELECT number, tpch.padded('Customer#', number), tpch.address(number, 61), nation, tpch.phone(number, 64, nation),
		tpch.money(number, 67, -99999, 999999),
		(ARRAY['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD'])[1 + tpch.pick(number, 68, 5)],
		tpch.comment(number, 69, 29, 116)
	FROM generate_series(1, tpch.customers()) AS number, LATERAL (SELECT tpch.pick(number, 71, 25) AS nation) AS n;

INSERT INTO part
	SELECT number,
		tpch.color(number, 81) || ' ' || tpch.color(number, 82) || ' ' || tpch.color(number, 83) || ' '
			|| tpch.color(number, 84) || ' ' || tpch.color(number, 85),
		'Manufacturer#' || manufacturer, 'Brand#' || manufacturer || 1 + tpch.pick(number, 87, 5),
		(ARRAY['STANDARD', 'SMALL', 'MEDIUM', 'LARGE', 'ECONOMY', 'PROMO'])[1 + tpch.pick(number, 88, 6)] || ' '
			|| (ARRAY['ANODIZED', 'BURNISHED', 'PLATED', 'POLISHED', 'BRUSHED'])[1 + tpch.pick(number, 89, 5)] || ' '
			|| (ARRAY['TIN', 'NICKEL', 'BRASS', 'STEEL', 'COPPER'])[1 + tpch.pick(number, 90, 5)],
		1 + tpch.pick(number, 91, 50),
		(ARRAY['SM', 'LG', 'MED', 'JUMBO', 'WRAP'])[1 + tpch.pick(number, 92, 5)] || ' '
			|| (ARRAY['CASE', 'BOX', 'BAG', 'JAR', 'PKG', 'PACK', 'CAN', 'DRUM'])[1 + tpch.pick(number, 93, 8)],
		tpch.retail_cents(number) * 0.01, tpch.comment(number, 94, 5, 22)
	FROM generate_series(1, tpch.parts()) AS number, LATERAL (SELECT 1 + tpch.pick(number, 86, 5) AS manufacturer) AS m;

INSERT INTO partsupp
	SELECT part, tpch.part_supplier(part, number), 1 + tpch.pick(4::bigint * part + number, 101, 9999),
		tpch.money(4::bigint * part + number, 102, 100, 100000), tpch.comment(4::bigint * part + number, 103, 49, 198)
	FROM generate_series(1, tpch.parts()) AS part, generate_series(0, 3) AS number;

INSERT INTO orders SELECT * FROM tpch.new_orders(1, tpch.orders());
INSERT INTO lineitem SELECT * FROM tpch.new_lines(1, tpch.orders());

-- --- indexes: keys, and what joins and ranges of dates ask for ----------------

ALTER TABLE region ADD PRIMARY KEY (r_regionkey);
ALTER TABLE nation ADD PRIMARY KEY (n_nationkey);
ALTER TABLE supplier ADD PRIMARY KEY (s_suppkey);
ALTER TABLE customer ADD PRIMARY KEY (c_custkey);
ALTER TABLE part ADD PRIMARY KEY (p_partkey);
ALTER TABLE partsupp ADD PRIMARY KEY (ps_partkey, ps_suppkey);
ALTER TABLE orders ADD PRIMARY KEY (o_orderkey);
ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber);
CREATE INDEX ON nation (n_regionkey);
CREATE INDEX ON supplier (s_nationkey);
CREATE INDEX ON customer (c_nationkey);
CREATE INDEX ON partsupp (ps_suppkey);
CREATE INDEX ON orders (o_custkey);
CREATE INDEX ON orders (o_orderdate);
CREATE INDEX ON lineitem (l_partkey, l_suppkey);
CREATE INDEX ON lineitem (l_suppkey);
CREATE INDEX ON lineitem (l_shipdate);

COMMIT;
VACUUM ANALYZE region, nation, supplier, customer, part, partsupp, orders, lineitem;
