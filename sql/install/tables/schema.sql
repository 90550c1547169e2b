-- CREATE EXTENSION makes the schema, unless it was there.

GRANT USAGE ON SCHEMA rolecall TO pg_monitor;
