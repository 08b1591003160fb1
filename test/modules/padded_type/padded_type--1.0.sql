\echo Use "CREATE EXTENSION padded_type" to load this file. \quit

CREATE TYPE padded;
CREATE FUNCTION padded_in(cstring) RETURNS padded AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION padded_out(padded) RETURNS cstring AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE TYPE padded (input = padded_in, output = padded_out, internallength = 16, alignment = double);

CREATE FUNCTION padded(double precision) RETURNS padded AS 'MODULE_PATHNAME', 'padded_make' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION padded_larger(padded, double precision) RETURNS padded AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE AGGREGATE padded_max(double precision) (sfunc = padded_larger, stype = padded, initcond = '-Infinity');
