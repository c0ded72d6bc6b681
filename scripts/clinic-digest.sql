-- One line for each table, sequence and large object of the clinic: its rows and a digest of them in a fixed order.
-- Two databases that print the same lines hold the same data. For a small clinic: it sorts whole tables in memory.
--
--   psql -X -A -t -v ON_ERROR_STOP=1 -f clinic-digest.sql

SET timezone = 'UTC';
SET row_security = off;

SELECT format('SELECT %L, count(*), md5(string_agg(md5(t::text), '''' ORDER BY md5(t::text))) FROM %s AS t',
              c.oid::regclass, c.oid::regclass)
FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname
\gexec

SELECT format('SELECT %L, last_value, is_called FROM %s', c.oid::regclass, c.oid::regclass)
FROM pg_class AS c
WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace
ORDER BY c.relname
\gexec

SELECT 'large objects', count(*), md5(string_agg(md5(lo_get(oid)), '' ORDER BY oid)) FROM pg_largeobject_metadata;
SELECT 'view last_visits', count(*), md5(string_agg(md5(v::text), '' ORDER BY v.id)) FROM last_visits AS v;
