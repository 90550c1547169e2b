// A sync worker: takes users who are due or asked for, fetches what their providers say with many requests
// under way and no transaction open, applies it in batches, and sleeps until somebody is due or wakes it.
#pragma once

#include "pg/pg.h"

extern "C" {
PGDLLEXPORT void rolecall_worker_main(Datum argument);
}
