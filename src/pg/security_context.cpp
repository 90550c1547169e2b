#include "pg/security_context.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace rolecall::pg {

namespace {

// A setting and the value that it must have. Its record is looked up once, because most calls change nothing
// and should not search all settings.
struct QuerySetting {
    const char* name;
    const char* value;  // as SHOW prints it
    const config_generic* record = nullptr;
};

QuerySetting search_path{"search_path", "pg_catalog, pg_temp"};
QuerySetting enable_seqscan{"enable_seqscan", "off"};
QuerySetting jit{"jit", "off"};

// In alphabetical order.
QuerySetting pins[] = {
    {"array_nulls", "on"},
    {"bytea_output", "hex"},
    {"DateStyle", "ISO, MDY"},
    {"default_text_search_config", "pg_catalog.simple"},
    {"extra_float_digits", "1"},
    {"gin_fuzzy_search_limit", "0"},
    {"IntervalStyle", "postgres"},
    {"lc_messages", "C"},
    {"lc_monetary", "C"},
    {"lc_numeric", "C"},
    {"lc_time", "C"},
    {"quote_all_identifiers", "off"},
    {"row_security", "on"},
    {"standard_conforming_strings", "on"},
    {"TimeZone", "UTC"},
    {"timezone_abbreviations", "Default"},
    {"transform_null_equals", "off"},
    {"xmlbinary", "base64"},
    {"xmloption", "content"},
};

bool has_value(const config_generic* record, const char* value) {
    switch (record->vartype) {
        case PGC_BOOL:
            return *reinterpret_cast<const config_bool*>(record)->variable == (strcmp(value, "on") == 0);
        case PGC_INT:
            return *reinterpret_cast<const config_int*>(record)->variable == atoi(value);
        case PGC_STRING: {
            const char* current = *reinterpret_cast<const config_string*>(record)->variable;
            return current != nullptr && strcmp(current, value) == 0;
        }
        case PGC_ENUM: {
            auto* setting = reinterpret_cast<config_enum*>(const_cast<config_generic*>(record));
            return strcmp(config_enum_lookup_by_value(setting, *setting->variable), value) == 0;
        }
        default:
            return false;
    }
}

bool is_pinned(QuerySetting& p) {
    if (p.record == nullptr)
        p.record = find_setting(p.name);
    return p.record != nullptr && has_value(p.record, p.value);
}

void pin(QuerySetting& p) {
    if (!is_pinned(p))
        (void)set_config_option(p.name, p.value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

// Sets search_path to pg_catalog, pg_temp.
SecurityContext act_as(Oid role, int flags = 0) {
    SecurityContext before{};
    GetUserIdAndSecContext(&before.user, &before.security_context);
    SetUserIdAndSecContext(
        role, before.security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION | flags);
    before.guc_level = NewGUCNestLevel();
    pin(search_path);
    return before;
}

// The extension's own statements find rows by key, and their plans are kept. A sequential scan planned while
// a table was empty would remain in use after the table has grown.
SecurityContext act_for_lookup(Oid role, int flags) {
    const SecurityContext before = act_as(role, flags);
    pin(enable_seqscan);
    pin(jit);  // compiling would take longer than these statements do
    return before;
}

// Settings of PL/pgSQL. They exist once PL/pgSQL is loaded, or earlier as placeholders if they have been set.
struct LanguageSetting {
    const char* name;
    const char* value;
    bool when_compiled;  // it takes effect when a function is compiled
};

constexpr LanguageSetting language_pins[] = {
    {"plpgsql.check_asserts", "on", false},       {"plpgsql.extra_errors", "none", false},
    {"plpgsql.extra_warnings", "none", false},    {"plpgsql.print_strict_params", "off", true},
    {"plpgsql.variable_conflict", "error", true},
};

// The record is not kept, because it changes when the language is loaded.
bool is_pinned(const LanguageSetting& p) {
    const char* value = GetConfigOption(p.name, true, false);
    return value == nullptr || strcmp(value, p.value) == 0;
}

void pin_language() {
    for (const LanguageSetting& p : language_pins)
        if (!is_pinned(p))
            (void)set_config_option(p.name, p.value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                                    false);
}

}  // namespace

SecurityContext act_as_owner() { return act_for_lookup(extension_owner(), 0); }

// SECURITY_NOFORCE_RLS is also what the server's referential integrity queries use.
SecurityContext act_as_table_owner(Oid role) { return act_for_lookup(role, SECURITY_NOFORCE_RLS); }

SecurityContext act_as_pinned(Oid role) {
    const SecurityContext before = act_as(role);
    for (QuerySetting& p : pins)
        pin(p);
    pin_language();
    return before;
}

bool compiles_as_pinned() {
    return std::all_of(std::begin(language_pins), std::end(language_pins),
                       [](const LanguageSetting& p) { return !p.when_compiled || is_pinned(p); });
}

SecurityContext act_inside(Oid definer, const char* path) {
    SecurityContext before{};
    GetUserIdAndSecContext(&before.user, &before.security_context);
    if (OidIsValid(definer))
        SetUserIdAndSecContext(definer, before.security_context | SECURITY_LOCAL_USERID_CHANGE);
    before.guc_level = NewGUCNestLevel();
    if (path != nullptr)
        (void)set_config_option(search_path.name, path, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                                false);
    return before;
}

void restore_security_context(const SecurityContext& before) {
    AtEOXact_GUC(true, before.guc_level);
    SetUserIdAndSecContext(before.user, before.security_context);
}

Oid extension_relation(const char* name) {
    const Oid schema = get_namespace_oid("rolecall", false);
    const Oid relation = get_relname_relid(name, schema);
    if (!OidIsValid(relation))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"rolecall.%s\" does not exist", name),
                 errhint("Run CREATE EXTENSION rolecall, or ALTER EXTENSION rolecall UPDATE.")));
    return relation;
}

Oid extension_owner() {
    const Oid relation = extension_relation("projections");
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for relation %u", relation);
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

}  // namespace rolecall::pg
