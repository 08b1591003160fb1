\echo Use "CREATE EXTENSION derive_example" to load this file. \quit

-- the tutorial's
CREATE FUNCTION word_count_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('word_count', 'derive_example.word_count_handler');

-- for tests
CREATE FUNCTION noop_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('noop', 'derive_example.noop_handler');

CREATE FUNCTION mirror_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('mirror', 'derive_example.mirror_handler');

CREATE FUNCTION trace_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('trace', 'derive_example.trace_handler');
CREATE FUNCTION strict_trace_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('strict_trace', 'derive_example.strict_trace_handler');

CREATE FUNCTION misbehaving_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('misbehaving', 'derive_example.misbehaving_handler');
CREATE FUNCTION misbehaving_buffered_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('misbehaving_buffered', 'derive_example.misbehaving_buffered_handler');
-- these are refused
CREATE FUNCTION other_version_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
CREATE FUNCTION empty_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
CREATE FUNCTION null_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
