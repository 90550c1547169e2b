#include "pg/background.h"

extern "C" {
#include "utils/guc.h"
}

namespace rolecall::pg {

namespace {

struct PinnedSetting {
    const char* name;
    const char* value;
};

// In alphabetical order. These settings decide how the extension's own statements are parsed, what they see,
// whether they may write, whether triggers fire, and what ends them.
constexpr PinnedSetting pins[] = {
    {"array_nulls", "on"},
    {"backslash_quote", "safe_encoding"},
    {"bytea_output", "hex"},
    {"check_function_bodies", "on"},
    {"DateStyle", "ISO, MDY"},
    {"default_transaction_deferrable", "off"},
    {"default_transaction_isolation", "read committed"},
    {"default_transaction_read_only", "off"},
    {"exit_on_error", "off"},
    {"extra_float_digits", "1"},
    {"idle_in_transaction_session_timeout", "0"},
    {"idle_session_timeout", "0"},
    {"IntervalStyle", "postgres"},
    {"lock_timeout", "0"},
    {"quote_all_identifiers", "off"},
    {"role", "none"},
    {"row_security", "on"},
    {"search_path", "pg_catalog, pg_temp"},
    {"session_replication_role", "origin"},
    {"standard_conforming_strings", "on"},
    {"statement_timeout", "0"},
#if PG_VERSION_NUM >= 170000
    {"transaction_timeout", "0"},
#endif
    {"transform_null_equals", "off"},
    {"xmloption", "content"},
};

}  // namespace

void pin_settings() {
    for (const PinnedSetting& pin : pins)
        SetConfigOption(pin.name, pin.value, PGC_SUSET, PGC_S_OVERRIDE);
}

void set_lock_timeout(int milliseconds) {
    (void)set_config_option("lock_timeout", psprintf("%d", milliseconds), PGC_SUSET, PGC_S_SESSION,
                            GUC_ACTION_LOCAL, true, 0, false);
}

}  // namespace rolecall::pg
