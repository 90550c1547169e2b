// A sync worker. It takes users that are due or requested, fetches the providers' answers with many requests
// under way and no transaction open, and applies the answers in batches. It sleeps until a user is due or a
// session wakes it.
#pragma once

#include "pg/pg.h"

extern "C" {
PGDLLEXPORT void rolecall_worker_main(Datum argument);
}
