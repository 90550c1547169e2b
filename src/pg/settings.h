// The settings (GUCs) of the extension. docs/settings.md explains them to users. Background processes take
// settings that any role may set (PGC_USERSET) from the server's configuration only.
#pragma once

#include "pg/pg.h"

namespace rolecall::settings {

enum SyncScope : int { all, active };

extern int audit_retention;      // rolecall.audit_retention, s; -1: kept forever
extern bool cache;               // rolecall.cache
extern int cache_size;           // rolecall.cache_size, kB
extern int active_window;        // rolecall.active_window, s
extern int connect_timeout;      // rolecall.connect_timeout, ms
extern bool directory_is_local;  // rolecall.directory_is_local
extern int max_document_size;    // rolecall.max_document_size, kB
extern int max_in_flight;        // rolecall.max_in_flight
extern int max_response_size;    // rolecall.max_response_size, kB
extern double rate_limit;        // rolecall.rate_limit, requests a second; 0: none
extern char* request_id;         // rolecall.request_id
extern int request_timeout;      // rolecall.request_timeout, ms
extern bool restoring;           // rolecall.restoring
extern int sync_batch_size;      // rolecall.sync_batch_size
extern int sync_naptime;         // rolecall.sync_naptime, ms
extern bool sync_on_subscriber;  // rolecall.sync_on_subscriber
extern int sync_scope;           // rolecall.sync_scope, a SyncScope
extern int sync_ttl;             // rolecall.sync_ttl, s
extern int sync_workers;         // rolecall.sync_workers, per database
extern char* uid;                // rolecall.uid
extern bool warm_on_start;       // rolecall.warm_on_start
extern bool worker;              // rolecall.worker

/// Called when rolecall.directory_is_local is about to change in this process. May be nullptr.
extern void (*on_directory_is_local)();

/// Defines the settings; _PG_init calls it once.
void init();

}  // namespace rolecall::settings
