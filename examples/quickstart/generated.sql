-- Made-up flights between real airports, for machines without npm.
INSERT INTO airports (iata, city, state, country, latitude, longitude) VALUES
    ('ATL', 'Atlanta', 'GA', 'USA', 33.640, -84.427),
    ('BOS', 'Boston', 'MA', 'USA', 42.364, -71.005),
    ('DEN', 'Denver', 'CO', 'USA', 39.858, -104.667),
    ('DFW', 'Dallas-Fort Worth', 'TX', 'USA', 32.896, -97.037),
    ('DTW', 'Detroit', 'MI', 'USA', 42.212, -83.349),
    ('EWR', 'Newark', 'NJ', 'USA', 40.692, -74.169),
    ('HNL', 'Honolulu', 'HI', 'USA', 21.319, -157.922),
    ('IAH', 'Houston', 'TX', 'USA', 29.980, -95.340),
    ('JFK', 'New York', 'NY', 'USA', 40.640, -73.779),
    ('LAS', 'Las Vegas', 'NV', 'USA', 36.081, -115.152),
    ('LAX', 'Los Angeles', 'CA', 'USA', 33.943, -118.408),
    ('LGA', 'New York', 'NY', 'USA', 40.777, -73.873),
    ('MIA', 'Miami', 'FL', 'USA', 25.793, -80.291),
    ('MSP', 'Minneapolis', 'MN', 'USA', 44.881, -93.217),
    ('ORD', 'Chicago', 'IL', 'USA', 41.980, -87.904),
    ('PHL', 'Philadelphia', 'PA', 'USA', 39.872, -75.241),
    ('PHX', 'Phoenix', 'AZ', 'USA', 33.434, -112.008),
    ('SEA', 'Seattle', 'WA', 'USA', 47.449, -122.309),
    ('SFO', 'San Francisco', 'CA', 'USA', 37.619, -122.375),
    ('STL', 'St Louis', 'MO', 'USA', 38.748, -90.360);

INSERT INTO flights (departure, origin, destination, distance, delay)
SELECT timestamp '2001-01-01' + n * interval '6 minutes 30 seconds',
       o.iata, d.iata, 200 + (n * 37) % 2400, (60 * power(random(), 3) - 10)::int
FROM generate_series(1, 20000) AS n,
     LATERAL (SELECT iata FROM airports ORDER BY hashint8(n), hashtext(iata || n) LIMIT 1) AS o,
     LATERAL (SELECT iata FROM airports WHERE iata <> o.iata ORDER BY hashtext(n || iata) LIMIT 1) AS d;
