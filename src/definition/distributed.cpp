#include "definition/distributed.h"

#include "pg/function.h"
#include "pg/security_context.h"
#include "pg/settings.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace rolecall::projection {

namespace {

// Returns a catalog of Citus, or InvalidOid if Citus is not installed. Only a superuser can create relations
// in pg_catalog, so the name can be trusted.
Oid catalog(const char* name) { return get_relname_relid(name, PG_CATALOG_NAMESPACE); }

// A row of a catalog as it is now, whatever snapshot the transaction has. The scan uses the index if its name
// is given and the index exists. The row is valid until close().
class CatalogRow {
 public:
    CatalogRow(Oid relation, const char* index, int keys, ScanKey key)
        : relation_(table_open(relation, AccessShareLock)) {
        const Oid by = index != nullptr ? catalog(index) : InvalidOid;
        scan_ = systable_beginscan(relation_, by, OidIsValid(by), nullptr, keys, key);
        tuple_ = systable_getnext(scan_);
    }
    bool is_there() const { return HeapTupleIsValid(tuple_); }
    Datum column(AttrNumber number, bool& is_null) const {
        return heap_getattr(tuple_, number, RelationGetDescr(relation_), &is_null);
    }
    void close() {
        systable_endscan(scan_);
        table_close(relation_, AccessShareLock);
    }

 private:
    Relation relation_;
    SysScanDesc scan_;
    HeapTuple tuple_;
};

bool has_rows(Oid relation) {
    CatalogRow any(relation, nullptr, 0, nullptr);
    const bool found = any.is_there();
    any.close();
    return found;
}

// Reads the group of this node; the coordinator's is 0. Returns false if the group cannot be read.
bool read_group(Oid relation, int32& group) {
    const AttrNumber number = get_attnum(relation, "groupid");
    if (number == InvalidAttrNumber || get_atttype(relation, number) != INT4OID)
        return false;
    CatalogRow row(relation, nullptr, 0, nullptr);
    bool is_null = true;
    if (row.is_there())
        group = DatumGetInt32(row.column(number, is_null));
    row.close();
    return !is_null;
}

// Returns whether this session was opened by a node of the cluster, on behalf of a query of its own.
bool asked_by_node() {
    constexpr std::string_view prefixes[] = {
        "citus_internal gpid=", "citus_rebalancer gpid=", "citus_run_command gpid="};
    const std::string_view name = application_name != nullptr ? application_name : "";
    return std::any_of(std::begin(prefixes), std::end(prefixes),
                       [name](std::string_view prefix) { return name.starts_with(prefix); });
}

// A node without metadata has group 0, as a coordinator has, and knows of no nodes. Such a node is a worker
// if a node of the cluster opened this session.
bool is_worker_node() {
    const Oid local_group = catalog("pg_dist_local_group");
    if (!OidIsValid(local_group))
        return false;
    int32 group = 0;
    if (!read_group(local_group, group) || group != 0)
        return true;
    const Oid nodes = catalog("pg_dist_node");
    return asked_by_node() && !(OidIsValid(nodes) && has_rows(nodes));
}

bool is_own_directory(Oid relation, Oid schema) {
    return get_rel_namespace(relation) == schema && get_rel_relkind(relation) == RELKIND_RELATION &&
           !is_distributed(relation);
}

}  // namespace

bool is_distributed(Oid relation) {
    const Oid partitions = catalog("pg_dist_partition");
    if (!OidIsValid(partitions))
        return false;
    const AttrNumber number = get_attnum(partitions, "logicalrelid");
    if (number == InvalidAttrNumber)
        return true;  // a Citus with another catalog: assume that it manages the relation
    ScanKeyData key;
    ScanKeyInit(&key, number, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
    CatalogRow row(partitions, "pg_dist_partition_logical_relid_index", 1, &key);
    const bool found = row.is_there();
    row.close();
    return found;
}

void require_directory(const List* relations) {
    if (settings::directory_is_local || !is_worker_node())
        return;
    const Oid schema = get_namespace_oid("rolecall", false);
    ListCell* cell = nullptr;
    foreach (cell, relations)
        if (is_own_directory(lfirst_oid(cell), schema))
            ereport(
                ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("this node has no directory of its own"),
                 errdetail("It is a worker of a Citus cluster, and table rolecall.%s is not distributed: its "
                           "rows are those of this node, not the coordinator's.",
                           get_rel_name(lfirst_oid(cell))),
                 errhint("Ask the coordinator, in a query of which no part runs on workers. Set "
                         "rolecall.directory_is_local where this node's own users are meant.")));
}

void require_directory() { require_directory(list_make1_oid(pg::extension_relation("users"))); }

List* add_distribution_catalogs(List* relations) {
    for (const char* name : {"pg_dist_partition", "pg_dist_local_group"})
        if (const Oid oid = catalog(name); OidIsValid(oid))
            relations = list_append_unique_oid(relations, oid);
    return relations;
}

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

// is_distributed(relation regclass)
ROLECALL_FUNCTION(rolecall_is_distributed, rolecall::pg::takes(BOOLOID, REGCLASSOID)) {
    PG_RETURN_BOOL(is_distributed(PG_GETARG_OID(0)));
}

// require_directory()
ROLECALL_FUNCTION(rolecall_require_directory, rolecall::pg::takes(VOIDOID)) {
    require_directory();
    PG_RETURN_VOID();
}

}  // extern "C"
