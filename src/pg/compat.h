// What differs between PostgreSQL 15, 17 and 18. Included by pg/pg.h only.
#pragma once

extern "C" {
#include "access/genam.h"
#include "access/twophase.h"
#include "catalog/pg_extension.h"
#include "commands/event_trigger.h"
#include "common/base64.h"
#include "nodes/nodes.h"
#include "pgstat.h"
#include "replication/logicalworker.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/guc_tables.h"
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

/// Event triggers can be switched off for a session from PostgreSQL 17 on.
inline bool event_triggers_enabled() {
#if PG_VERSION_NUM >= 170000
    return event_triggers;
#else
    return true;
#endif
}

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
