-- Made-up flights between real airports, for machines without npm.
INSERT INTO airports (iata, city, state, country) VALUES
    ('ATL', 'Atlanta', 'GA', 'USA'),       ('BOS', 'Boston', 'MA', 'USA'),
    ('DEN', 'Denver', 'CO', 'USA'),        ('DFW', 'Dallas-Fort Worth', 'TX', 'USA'),
    ('DTW', 'Detroit', 'MI', 'USA'),       ('EWR', 'Newark', 'NJ', 'USA'),
    ('HNL', 'Honolulu', 'HI', 'USA'),      ('IAH', 'Houston', 'TX', 'USA'),
    ('JFK', 'New York', 'NY', 'USA'),      ('LAS', 'Las Vegas', 'NV', 'USA'),
    ('LAX', 'Los Angeles', 'CA', 'USA'),   ('LGA', 'New York', 'NY', 'USA'),
    ('MIA', 'Miami', 'FL', 'USA'),         ('MSP', 'Minneapolis', 'MN', 'USA'),
    ('ORD', 'Chicago', 'IL', 'USA'),       ('PHL', 'Philadelphia', 'PA', 'USA'),
    ('PHX', 'Phoenix', 'AZ', 'USA'),       ('SEA', 'Seattle', 'WA', 'USA'),
    ('SFO', 'San Francisco', 'CA', 'USA'), ('STL', 'St Louis', 'MO', 'USA');

INSERT INTO flights (departure, origin, destination, distance, delay)
SELECT timestamp '2001-01-01' + n * interval '6 minutes 30 seconds',
       o.iata, d.iata, 200 + (n * 37) % 2400, (60 * power(random(), 3) - 10)::int
FROM generate_series(1, 20000) AS n,
     LATERAL (SELECT iata FROM airports ORDER BY hashint8(n), hashtext(iata || n) LIMIT 1) AS o,
     LATERAL (SELECT iata FROM airports WHERE iata <> o.iata ORDER BY hashtext(n || iata) LIMIT 1) AS d;
