-- Run by the image of PostgreSQL in the database that it creates.
CREATE EXTENSION pg_derive;
