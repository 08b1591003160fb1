-- word_count--1.0.sql
CREATE FUNCTION word_count_handler(internal) RETURNS derive.derivation_handler
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
SELECT derive.register('word_count', 'word_count_handler');
