-- The roles' passwords come from the environment of the container; psql quotes them.
\getenv app_password APP_PASSWORD
\getenv spillway_password SPILLWAY_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD
ALTER ROLE app PASSWORD :'app_password';
ALTER ROLE spillway PASSWORD :'spillway_password';
ALTER ROLE temporal PASSWORD :'temporal_password';
