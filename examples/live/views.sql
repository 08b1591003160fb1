-- What the page shows beside the quickstart's views: all airports, with where they are.
SELECT derive.create_view('airport_map', $$
    SELECT a.iata, a.city, a.state, a.latitude, a.longitude,
           count(f.id) AS flights, avg(f.delay)::float8 AS avg_delay
    FROM airports a LEFT JOIN flights f ON f.origin = a.iata
    GROUP BY a.iata, a.city, a.state, a.latitude, a.longitude $$);

-- The role that the gateway connects as, and the one that pages read as.
CREATE ROLE gateway LOGIN NOINHERIT;
CREATE ROLE web;
GRANT web TO gateway;
SELECT derive.wait();
GRANT SELECT ON airport_map, state_routes, last_departures, branch_accounts, teller_work TO gateway, web;
