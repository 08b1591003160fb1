-- Tables of the quickstart, empty.  pgbench makes its own four beside them.
CREATE TABLE airports (
    iata      text PRIMARY KEY,
    name      text,
    city      text,
    state     text,
    country   text,
    latitude  float8,
    longitude float8
);

CREATE TABLE flights (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    departure   timestamp,
    origin      text REFERENCES airports,
    destination text REFERENCES airports,
    distance    int,
    delay       int
);

-- A join is maintained through the indexes of its tables, as it would be queried.
CREATE INDEX ON flights (origin);
CREATE INDEX ON flights (destination);
CREATE INDEX ON pgbench_history (tid);
