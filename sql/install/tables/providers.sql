-- Where roles come from: a provider is a foreign server of this wrapper.

CREATE FOREIGN DATA WRAPPER rolecall NO HANDLER VALIDATOR rolecall.provider_validator;
COMMENT ON FOREIGN DATA WRAPPER rolecall IS 'its servers are identity providers; it has no foreign tables';
