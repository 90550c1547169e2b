#include "definition/detaching.h"

#include "definition/check.h"

extern "C" {
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
}

namespace rolecall::projection {

// With all partitions a descriptor is the same for every snapshot.
bool add_detaching(List** problems, List** relations) {
    List* found = NIL;
    ListCell* cell = nullptr;
    foreach (cell, *relations) {
        if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_PARTITIONED_TABLE)
            continue;
        Relation parent = table_open(lfirst_oid(cell), AccessShareLock);
        PartitionDesc partitions = RelationGetPartitionDesc(parent, false);
        for (int i = 0; partitions->detached_exist && i < partitions->nparts; ++i) {
            const Oid partition = partitions->oids[i];
            if (!PartitionHasPendingDetach(partition))
                continue;
            found = lappend_oid(found, partition);
            const char* whole = qualified_name(RelationGetRelid(parent));
            const char* part = qualified_name(partition);
            add_problem(problems,
                        {.relation = RelationGetRelid(parent),
                         .lasting = false,
                         .text = psprintf("partition %s of %s is being detached", part, whole),
                         .repair = psprintf("ALTER TABLE %s DETACH PARTITION %s FINALIZE", whole, part)});
        }
        table_close(parent, NoLock);
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
