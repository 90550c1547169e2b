-- What pg_dump takes along: every table with data of the application's, and its sequence. Built-in rows are
-- made anew by CREATE EXTENSION.

SELECT pg_catalog.pg_extension_config_dump('rolecall.tenants', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.users', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.users_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.roles', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.user_roles', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.units', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.units_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.user_units', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.sync_state', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.revocations', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.open_revocations', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.open_revocations_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.stopped_providers', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.sync_requests', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.sync_requests_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.role_changes', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.role_changes_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.oauth_states', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.refresh_tokens', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.refresh_tokens_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.projections', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rolecall.watches', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rolecall.watch_references', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rolecall.packs', '');

