-- The schema is made by CREATE EXTENSION, or by whoever installs.

GRANT USAGE ON SCHEMA rolecall TO pg_monitor;
