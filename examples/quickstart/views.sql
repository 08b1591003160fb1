-- Departures of each airport: a join, aggregated.
SELECT derive.create_view('airport_delays', $$
    SELECT a.iata, a.city, a.state,
           count(*) AS flights, avg(f.delay) AS avg_delay, max(f.delay) AS worst
    FROM flights f JOIN airports a ON a.iata = f.origin
    GROUP BY a.iata, a.city, a.state $$);

-- A view of that view, moving in the same instant.  With this index the worst delay
-- of a state is found at once when the flight that had it goes.
CREATE INDEX ON airport_delays (state, worst);
SELECT derive.create_view('state_delays', $$
    SELECT state, count(*) AS airports, sum(flights) AS flights, max(worst) AS worst
    FROM airport_delays GROUP BY state $$);

-- From where to where: the airports table joined twice.
SELECT derive.create_view('state_routes', $$
    SELECT o.state AS from_state, d.state AS to_state,
           count(*) AS flights, sum(f.distance) AS miles
    FROM flights f
    JOIN airports o ON o.iata = f.origin
    JOIN airports d ON d.iata = f.destination
    GROUP BY o.state, d.state $$);

-- An outer join: all airports, with those where nothing lands.
SELECT derive.create_view('arrivals', $$
    SELECT a.iata, a.city, count(f.id) AS flights
    FROM airports a LEFT JOIN flights f ON f.destination = a.iata
    GROUP BY a.iata, a.city $$);

-- A window: the rank of each airport in its state.
SELECT derive.create_view('ranks', $$
    SELECT state, rank() OVER (PARTITION BY state ORDER BY flights DESC) AS rank, iata, city, flights
    FROM airport_delays $$);

-- A top-N: the last three departures of each airport.
CREATE INDEX ON flights (origin, departure, id);
SELECT derive.create_view('last_departures', $$
    SELECT a.iata, l.id, l.departure, l.destination
    FROM airports a CROSS JOIN LATERAL (SELECT id, departure, destination FROM flights f
        WHERE f.origin = a.iata ORDER BY departure DESC, id DESC LIMIT 3) l $$);

-- The bank of pgbench: what lies on the accounts of each branch ...
SELECT derive.create_view('branch_accounts', $$
    SELECT bid, count(*) AS accounts, sum(abalance) AS balance
    FROM pgbench_accounts GROUP BY bid $$);

-- ... and what its tellers did.
SELECT derive.create_view('teller_work', $$
    SELECT t.tid, t.bid, count(*) AS transactions, sum(h.delta) AS moved, max(h.mtime) AS latest
    FROM pgbench_history h JOIN pgbench_tellers t ON t.tid = h.tid
    GROUP BY t.tid, t.bid $$);
