-- Where roles come from: a provider is a foreign server of this wrapper.

CREATE FUNCTION rolecall.provider_validator(options text[], catalog oid) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_provider_validator';
COMMENT ON FUNCTION rolecall.provider_validator(text[], oid) IS 'checks the options of providers and their user mappings';

CREATE FOREIGN DATA WRAPPER rolecall NO HANDLER VALIDATOR rolecall.provider_validator;
COMMENT ON FOREIGN DATA WRAPPER rolecall IS 'its servers are identity providers; it has no foreign tables';

