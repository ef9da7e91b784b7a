\i testdata/sql/included.sql
\echo back again
\i testdata/sql/error.sql
