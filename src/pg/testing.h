// Test hooks of a server built with ROLECALL_TESTING. Debug points stop a backend at a named place. Seeded
// faults break one sentence of the freshness rule each, so that the checker can prove that it finds them. In
// an ordinary build these functions do nothing.
#pragma once

#include "pg/pg.h"

namespace rolecall::testing {

/// The faults, numbered as test/checker/README.md lists them.
enum class Fault {
    none = 0,
    stamps_read_before_entry = 1,
    stamp_of_the_one_before = 2,
    subtransaction_id = 3,
    old_key_not_stamped = 4,
    new_key_not_stamped = 5,
    watch_on_origin_only = 6,
    own_writes_ignored = 7,
    first_level_own_writes_ignored = 8,
    reader_ignored = 9,
    newest_snapshot = 10,
    own_snapshot_query = 11,
    lookup_keys_by_query = 12,
    serializable_hit = 13,
    floor_at_start_only = 14,
    floor_stored = 15,
    no_ddl_lock = 17,
    ddl_not_announced = 18,
    partition_without_truncate = 19,
    miss_not_stamped = 20,
    id_used_again = 21,
    watches_not_verified = 24,
    old_catalogs = 30,
    database_floor_not_read = 31,
    floors_not_compared = 32,
    prepared_not_announced = 33,
    own_changes_ignored = 34,
    subtransactions_forgotten = 35,
    old_texts = 36,
    texts_not_marked = 37,
    memo_snapshot_ignored = 40,
    memo_own_rows_ignored = 41,
    memo_command_ignored = 42,
    memo_messages_ignored = 43,
    memo_first_write_ignored = 44,
    memo_under_writer = 45,
    memo_over_rollback = 46,
    memo_of_inexact = 47,
    memo_while_off = 48,
    memo_over_invalidation = 49,
    writing_worker_hit = 50,
    pass_by_newest_snapshot = 51,
    miss_without_groups = 52,
    plan_kept_while_detaching = 53,
    window_ignored = 54,
    groups_not_read = 55,
    writers_not_asked = 56,
    versions_not_compared = 57,
    unsafe_deferrable_hit = 58,
    text_of_newest_versions = 59,
    bodies_of_definers_ignored = 60,
    old_compilations = 70,
};

#ifdef ROLECALL_TESTING

/// Defines the test settings, such as rolecall.seeded_fault.
void init();
std::size_t shared_bytes();
void attach(void* memory);

/// Returns the microseconds by which a test has moved the clock of syncs (rolecall.clock_offset, in seconds).
std::int64_t clock_offset();

/// Returns how many of the `all` slots of a fixed table are used: fewer if a test wants the table to become
/// full (rolecall.table_slots).
int slots(int all);

/// Returns whether this fault is switched on in this session.
bool fault(Fault which);

/// Waits here while a test holds the point (rolecall_test_hold). Takes no lock and handles no interrupt
/// except the death of the postmaster, so that it may be called anywhere, even during commit.
void point(const char* name);

#else

inline void init() {}
constexpr std::size_t shared_bytes() { return 0; }
inline void attach(void*) {}
constexpr std::int64_t clock_offset() { return 0; }
constexpr int slots(int all) { return all; }
constexpr bool fault(Fault) { return false; }
inline void point(const char*) {}

#endif

}  // namespace rolecall::testing
