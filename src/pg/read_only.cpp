#include "pg/read_only.h"

extern "C" {
#include "access/xlog.h"
}

namespace rolecall::pg {

void require_writable(const char* what) {
    if (!XactReadOnly)
        return;
    if (RecoveryInProgress())
        ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION), errmsg("cannot %s during recovery", what),
                        errhint("Connect to the primary server.")));
    ereport(ERROR,
            (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION), errmsg("cannot %s in a read-only transaction", what),
             errhint("Call it in a transaction that is READ WRITE.")));
}

}  // namespace rolecall::pg
