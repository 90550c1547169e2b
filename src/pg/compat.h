// The differences between PostgreSQL 15, 16, 17 and 18. Only pg/pg.h includes this file.
#pragma once

extern "C" {
#include "access/genam.h"
#include "access/twophase.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_tablespace.h"
#include "common/base64.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "pgstat.h"
#include "replication/logicalworker.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/guc_tables.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#else
#include "storage/backendid.h"
#endif
}

#if PG_VERSION_NUM < 150000
#error "rolecall needs PostgreSQL 15 or later"
#endif

namespace rolecall::pg {

/// Returns whether this backend holds `tag` in `mode` or a stronger mode.
inline bool holds_lock(const LOCKTAG& tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
    return LockHeldByMe(&tag, mode, true);
#else
    for (; mode <= AccessExclusiveLock; ++mode)
        if (LockHeldByMe(&tag, mode))
            return true;
    return false;
#endif
}

inline bool owns_extension(Oid extension, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(ExtensionRelationId, extension, role);
#else
    return pg_extension_ownercheck(extension, role);
#endif
}

inline bool owns_database(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(DatabaseRelationId, database, role);
#else
    return pg_database_ownercheck(database, role);
#endif
}

inline bool may_create_in_tablespace(Oid tablespace, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(TableSpaceRelationId, tablespace, role, ACL_CREATE) == ACLCHECK_OK;
#else
    return pg_tablespace_aclcheck(tablespace, role, ACL_CREATE) == ACLCHECK_OK;
#endif
}

/// Returns whether `role` may create an object that belongs to `owner`.
inline bool may_give_to(Oid owner, Oid role) {
#if PG_VERSION_NUM >= 160000
    return member_can_set_role(role, owner);
#else
    return is_member_of_role(role, owner);
#endif
}

/// Returns whether this backend holds `tag` in exactly this mode.
inline bool is_lock_held_by_me(const LOCKTAG& tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
    return LockHeldByMe(&tag, mode, false);
#else
    return LockHeldByMe(&tag, mode);
#endif
}

/// Whether a session keeps compiled functions of the language SQL.
constexpr bool keeps_sql_functions = PG_VERSION_NUM >= 180000;

/// Returns a setting's record, or nullptr if there is no such setting.
inline const config_generic* find_setting(const char* name) {
#if PG_VERSION_NUM >= 160000
    return find_option(name, false, true, DEBUG1);
#else
    for (int i = 0; i < GetNumConfigOptions(); ++i)
        if (strcmp(get_guc_variables()[i]->name, name) == 0)
            return get_guc_variables()[i];
    return nullptr;
#endif
}

/// Returns whether a setting's value comes from the database, the role, the client or the session, rather
/// than from the server's configuration.
inline bool is_set_for_session(const char* name) {
    const config_generic* record = find_setting(name);
    return record != nullptr && record->source >= PGC_S_GLOBAL && record->source != PGC_S_OVERRIDE;
}

/// Begins a scan of an index with `keys` scan keys; the caller passes them to index_rescan().
inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

/// Encodes bytes as base64 into `text`. Returns the length, or -1 if `room` is too small.
inline int encode_base64(const std::uint8_t* bytes, int size, char* text, int room) {
#if PG_VERSION_NUM >= 180000
    return pg_b64_encode(bytes, size, text, room);
#else
    return pg_b64_encode(reinterpret_cast<const char*>(bytes), size, text, room);
#endif
}

/// Converts a function to the type that expression_tree_walker() and similar functions expect. Before
/// PostgreSQL 16 that type had no parameters.
inline auto tree_walker(bool (*walker)(Node*, void*)) {
#if PG_VERSION_NUM >= 160000
    return walker;
#else
    return reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker));
#endif
}

/// The parts of an SQL/JSON expression. Such expressions were added in PostgreSQL 16 and 17.
struct SqlJson {
    List* written = NIL;    // expressions whose values are converted to json
    Oid read = InvalidOid;  // the type that json is converted to
};

/// Returns whether the node is an SQL/JSON expression, and fills `parts` if so.
inline bool is_sql_json(const Node* node, SqlJson& parts) {
    switch (nodeTag(node)) {
#if PG_VERSION_NUM >= 160000
        case T_JsonConstructorExpr:
            parts.written = reinterpret_cast<const JsonConstructorExpr*>(node)->args;
            return true;
        case T_JsonValueExpr:
        case T_JsonFormat:
        case T_JsonIsPredicate:
            return true;
#endif
#if PG_VERSION_NUM >= 170000
        case T_JsonExpr:
            parts.read = reinterpret_cast<const JsonExpr*>(node)->returning->typid;
            return true;
        case T_JsonBehavior:
            return true;
#endif
        default:
            (void)parts;
            return false;
    }
}

inline bool is_json_table(const TableFunc* table) {
#if PG_VERSION_NUM >= 170000
    return table->functype == TFT_JSON_TABLE;
#else
    (void)table;
    return false;
#endif
}

/// Returns whether the entry holds the GROUP BY expressions of a query, as PostgreSQL 18 adds to range
/// tables.
inline bool is_group_range(const RangeTblEntry* entry) {
#if PG_VERSION_NUM >= 180000
    return entry->rtekind == RTE_GROUP;
#else
    (void)entry;
    return false;
#endif
}

/// Returns the expression of a virtual generated column, or nullptr if the column is stored.
inline Node* virtual_column(Relation relation, AttrNumber number) {
#if PG_VERSION_NUM >= 180000
    if (TupleDescAttr(RelationGetDescr(relation), number - 1)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
        return build_generation_expression(relation, number);
#endif
    (void)relation;
    (void)number;
    return nullptr;
}

/// Returns the transaction id of the prepared transaction that holds a lock. The lock of a recovered prepared
/// transaction has this id in place of a virtual transaction id.
inline TransactionId prepared_transaction_of(const LockInstanceData& lock) {
#if PG_VERSION_NUM >= 170000
    const VirtualTransactionId vxid = lock.vxid;
    const bool is_recovered = vxid.procNumber == INVALID_PROC_NUMBER;
#else
    const VirtualTransactionId vxid = {lock.backend, lock.lxid};
    const bool is_recovered = vxid.backendId == InvalidBackendId;
#endif
    bool has_more = false;
    return is_recovered ? vxid.localTransactionId : TwoPhaseGetXidByVirtualXID(vxid, &has_more);
}

/// Returns whether this process applies changes that another server has published.
inline bool is_logical_worker() { return IsLogicalWorker(); }

/// Returns this backend's number below MaxBackends, counted from 0. Auxiliary processes have higher numbers;
/// -1 means none.
inline int backend_slot() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyBackendId == InvalidBackendId ? -1 : MyBackendId - 1;
#endif
}

/// A wait event, looked up once. It has its own name from PostgreSQL 17 on; before, all extensions share one.
class WaitEvent {
 public:
    constexpr explicit WaitEvent(const char* name) : name_(name) {}

    uint32 id() {
#if PG_VERSION_NUM >= 170000
        if (id_ == 0)
            id_ = WaitEventExtensionNew(name_);
        return id_;
#else
        (void)name_;
        return PG_WAIT_EXTENSION;
#endif
    }

 private:
    const char* name_;
    [[maybe_unused]] uint32 id_ = 0;
};

}  // namespace rolecall::pg
