#include "definition/detaching.h"

#include "definition/check.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
}

namespace rolecall::projection {

namespace {

// Reads the catalog. The server's own description of partitions includes the partition key, whose functions
// it would evaluate with the rights of the current role.
List* partitions_being_detached(Oid parent) {
    List* found = NIL;
    Relation inherits = table_open(InheritsRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(parent));
    SysScanDesc scan = systable_beginscan(inherits, InheritsParentIndexId, true, nullptr, 1, &key);
    for (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple); tuple = systable_getnext(scan))
        if (const auto* row = reinterpret_cast<Form_pg_inherits>(GETSTRUCT(tuple)); row->inhdetachpending)
            found = lappend_oid(found, row->inhrelid);
    systable_endscan(scan);
    table_close(inherits, AccessShareLock);
    return found;
}

}  // namespace

bool add_detaching(List** problems, List** relations) {
    List* found = NIL;
    ListCell* cell = nullptr;
    foreach (cell, *relations) {
        const Oid parent = lfirst_oid(cell);
        if (get_rel_relkind(parent) != RELKIND_PARTITIONED_TABLE)
            continue;
        ListCell* of_parent = nullptr;
        foreach (of_parent, partitions_being_detached(parent)) {
            const Oid partition = lfirst_oid(of_parent);
            found = lappend_oid(found, partition);
            const char* whole = qualified_name(parent);
            const char* part = qualified_name(partition);
            add_problem(problems,
                        {.relation = parent,
                         .lasting = false,
                         .text = psprintf("partition %s of %s is being detached", part, whole),
                         .repair = psprintf("ALTER TABLE %s DETACH PARTITION %s FINALIZE", whole, part)});
        }
    }
    *relations = list_concat_unique_oid(*relations, found);
    return found != NIL;
}

void plan_each_time(const Plan& plan) {
    ListCell* cell = nullptr;
    foreach (cell, SPI_plan_get_plan_sources(plan.saved)) {
        auto* source = static_cast<CachedPlanSource*>(lfirst(cell));
        source->cursor_options = (source->cursor_options & ~CURSOR_OPT_GENERIC_PLAN) | CURSOR_OPT_CUSTOM_PLAN;
    }
}

}  // namespace rolecall::projection
