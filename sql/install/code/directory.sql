-- Triggers of the built-in directory.

CREATE OR REPLACE FUNCTION rolecall.set_updated_at() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION rolecall.set_updated_at() IS 'keeps users.updated_at';

CREATE OR REPLACE TRIGGER set_updated_at BEFORE UPDATE ON rolecall.users
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION rolecall.set_updated_at();
