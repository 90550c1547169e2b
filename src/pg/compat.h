// What differs between PostgreSQL 15, 17 and 18. Included by pg/pg.h only.
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

/// Does this backend hold `tag` in `mode` or a stronger mode?
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

/// May `role` make something that belongs to `owner`?
inline bool may_give_to(Oid owner, Oid role) {
#if PG_VERSION_NUM >= 160000
    return member_can_set_role(role, owner);
#else
    return is_member_of_role(role, owner);
#endif
}

/// Does a session keep what it has made of functions in SQL?
constexpr bool keeps_sql_functions = PG_VERSION_NUM >= 180000;

/// A setting's record; nullptr: there is none.
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

/// Does a setting come from the role, the client or the session, rather than from those who run the server
/// or the database?
inline bool is_set_by_user(const char* name) {
    const config_generic* record = find_setting(name);
    return record != nullptr && record->source >= PGC_S_USER && record->source != PGC_S_OVERRIDE;
}

/// A scan of an index by `keys` keys, for index_rescan().
inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

/// Bytes as base64 in `text`; the length, or -1 where there is no room.
inline int encode_base64(const std::uint8_t* bytes, int size, char* text, int room) {
#if PG_VERSION_NUM >= 180000
    return pg_b64_encode(bytes, size, text, room);
#else
    return pg_b64_encode(reinterpret_cast<const char*>(bytes), size, text, room);
#endif
}

/// A function for expression_tree_walker() and its kin, which had no parameters declared before
/// PostgreSQL 16.
inline auto tree_walker(bool (*walker)(Node*, void*)) {
#if PG_VERSION_NUM >= 160000
    return walker;
#else
    return reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker));
#endif
}

/// SQL/JSON, whose expressions came with PostgreSQL 16 and 17.
struct SqlJson {
    List* written = NIL;    // expressions whose values are turned into json
    Oid read = InvalidOid;  // the type that is made of json
};

/// Is it such an expression?
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

/// Is it the expressions that a query groups by, which a later server has in its range table?
inline bool is_group_range(const RangeTblEntry* entry) {
#if PG_VERSION_NUM >= 180000
    return entry->rtekind == RTE_GROUP;
#else
    (void)entry;
    return false;
#endif
}

/// What a column is that is not stored; nullptr: it is.
inline Node* virtual_column(Relation relation, AttrNumber number) {
#if PG_VERSION_NUM >= 180000
    if (TupleDescAttr(RelationGetDescr(relation), number - 1)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
        return build_generation_expression(relation, number);
#endif
    (void)relation;
    (void)number;
    return nullptr;
}

/// Of whom a lock is, where it is a prepared transaction's: one that was recovered has its id in the place of
/// a virtual one.
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

/// Does this process apply what another server has published?
inline bool is_logical_worker() { return IsLogicalWorker(); }

/// This backend's place among MaxBackends, from 0; auxiliary processes lie beyond, -1 is none.
inline int backend_slot() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyBackendId == InvalidBackendId ? -1 : MyBackendId - 1;
#endif
}

/// A wait event with a name of its own, from PostgreSQL 17 on; before, extensions share one. Looked up once.
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
