#include "projection/read.h"

#include "cache/flight.h"
#include "cache/shared.h"
#include "core/first_level.h"
#include "definition/check.h"
#include "definition/compiled.h"
#include "definition/own_changes.h"
#include "pg/settings.h"
#include "pg/snapshot.h"
#include "pg/testing.h"
#include "projection/document.h"
#include "projection/load.h"
#include "projection/memo.h"

extern "C" {
#include "access/parallel.h"
#include "access/xlog.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

core::FirstLevel first_level;

// What the caller's transaction may do with cached documents. If it may not use them, `why` is what to count.
struct Eligibility {
    bool may_use = false;
    bool may_install = false;
    cache::Count why;
    core::FullXid xmin = 0;                  // the snapshot's
    const SnapshotData* snapshot = nullptr;  // the active snapshot; nullptr: none, or not a plain one

    core::Snapshot xids() const {
        return snapshot != nullptr ? pg::xid_snapshot(snapshot) : core::Snapshot{};
    }
};

bool may_be_written(Oid relation) {
    LOCKTAG tag;
    SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
    return pg::holds_lock(tag, RowExclusiveLock);
}

// Returns whether this backend holds a lock under which rows of the projection may have changed already.
// Stamps do not show such changes yet, because AFTER triggers run at the end of the statement.
bool may_have_written(Definition& d) {
    if (IsParallelWorker() && !testing::fault(Fault::writing_worker_hit))
        return true;  // the leader holds the locks
    definition_refresh_same_key(d);
    if (d.written < d.relation_count && may_be_written(d.relations[d.written]))
        return true;  // the same relation as last time
    for (int i = 0; i < d.relation_count; ++i)
        if (may_be_written(d.relations[i])) {
            d.written = i;
            return true;
        }
    return false;
}

// Reads in a SERIALIZABLE transaction take predicate locks, but a hit does not. Only a READ ONLY DEFERRABLE
// transaction with a safe snapshot needs none; one that became READ ONLY after its first snapshot has not
// waited for a safe one.
bool needs_predicate_locks() {
    return IsolationIsSerializable() &&
           !(XactReadOnly && XactDeferrable &&
             (ShareSerializableXact() == nullptr || testing::fault(Fault::unsafe_deferrable_hit)));
}

// A transaction with an id may have changed what it reads.
[[gnu::noinline]] void be_careful(Eligibility& s, Definition& d) {
    s.may_install = false;
    const bool changes_definitions =
        definitions_are_changing_here() && !testing::fault(Fault::own_changes_ignored);
    s.may_use = !changes_definitions && !may_have_written(d);
}

inline Eligibility eligibility_of(Definition& d) {
    if (!settings::cache) [[unlikely]]
        return {.why = cache::Count::bypass_off};
    if (!cache::floor_is_ready()) [[unlikely]]
        return {.why = cache::Count::bypass_recovery};
    if (!ActiveSnapshotSet()) [[unlikely]]
        return {.why = cache::Count::bypass_snapshot};
    const SnapshotData* snapshot = GetActiveSnapshot();
    if (!pg::is_plain(snapshot)) [[unlikely]]
        return {.why = cache::Count::bypass_snapshot};
    if (needs_predicate_locks() && !testing::fault(Fault::serializable_hit)) [[unlikely]]
        return {.why = cache::Count::bypass_serializable};
    Eligibility s{.may_use = true,
                  .may_install = true,
                  .why = cache::Count::bypass_own_writes,
                  .xmin = pg::full_xmin(snapshot),
                  .snapshot = snapshot};
    if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && !testing::fault(Fault::own_writes_ignored))
        [[unlikely]]
        be_careful(s, d);
    if (testing::fault(Fault::reader_ignored))
        s.xmin = UINT64_MAX;
    return s;
}

// Memory for the groups of a document. The usual number of groups needs no allocation.
class Groups {
 public:
    char* reserve(std::size_t bytes) {
        to_ = bytes <= sizeof room_ ? room_ : static_cast<char*>(palloc(bytes));
        return to_;
    }
    std::span<const std::uint32_t> of(const core::EntryHead& head) const {
        return {reinterpret_cast<const std::uint32_t*>(to_), head.group_bytes / sizeof(std::uint32_t)};
    }

 private:
    alignas(8) char room_[256];
    char* to_ = room_;
};

bool is_within_ttl(const Definition& d, const core::EntryHead& head) {
    return GetCurrentStatementStartTimestamp() < head.loaded_at + d.ttl;
}

[[gnu::noinline]] bool is_settled(const cache::Dependencies& on, const Eligibility& eligibility,
                                  const core::EntryHead& head) {
    std::uint64_t versions = 0;
    return cache::settled(on, eligibility.xids(), versions) && versions == head.versions;
}

// Returns whether the copied document is what the view would return or, for a projection with a ttl, whether
// no invalidation has come since.
inline bool is_current(const Definition& d, const cache::Dependencies& on, const Eligibility& eligibility,
                       const core::EntryHead& head) {
    const std::uint64_t floors = cache::floor_versions(on.floor);
    const bool is_verified = floors == d.usable_at || testing::fault(Fault::floors_not_compared);
    if (!is_verified || (floors + cache::stamp_versions(on) != head.versions &&
                         !testing::fault(Fault::versions_not_compared)))
        return false;
    if (d.ttl > 0)
        return is_within_ttl(d, head);
    if (cache::shared.head->high_water.is_behind(eligibility.xmin)) [[likely]]
        return true;
    return is_settled(on, eligibility, head);
}

// A key, and what was read for it. The constructor prefetches the entry while the rest is set up.
struct Lookup {
    Definition& d;
    KeyBuffer buffer;
    core::Key key;
    Eligibility eligibility;
    core::EntryHead head;
    Groups groups;

    Lookup(Definition& definition, Datum value)
        : d(definition), key(name(value)), eligibility(eligibility_of(d)) {}
    Lookup(Definition& definition, Datum value, const Eligibility& known)
        : d(definition), key(name(value)), eligibility(known) {}
    Lookup(const Lookup&) = delete;
    Lookup& operator=(const Lookup&) = delete;
    ~Lookup() = default;

    core::Key name(Datum value) {
        const std::string_view bytes = canonical_key(d.key_kind, value, buffer);
        const core::Key named{.database = MyDatabaseId,
                              .projection = d.id,
                              .bytes = bytes,
                              .hash = key_hash(d.id, d.key_kind, bytes)};
        cache::expect(named);
        return named;
    }
    // Returns whether the definition is still the same projection after it was read again.
    bool is_named_as_before() const { return key.projection == d.id; }
    cache::Dependencies depends_on() const { return {key.hash, d.floor, groups.of(head)}; }
    bool was_found() const { return head.document_bytes > 0; }
};

void count(const Lookup& l, cache::Count what) { cache::counters::add(l.d.counters, what); }

bool is_in_window(const core::EntryHead& head) {
    return head.window == core::Window{} || head.window.contains(GetCurrentTransactionStartTimestamp()) ||
           testing::fault(Fault::window_ignored);
}

// Copies the entry first and reads its stamps afterwards. In the other order, an entry reloaded in between
// could show a commit that this snapshot does not contain.
template <typename Reserve>
bool hit(Lookup& l, core::Part part, Reserve&& reserve) {
    const auto reserve_any = [&](core::Part which, std::size_t size) {
        if (which == core::Part::groups)
            return l.groups.reserve(size);
        cache::expect(l.groups.of(l.head));  // copied already, while the document is not
        return reserve(size);
    };
    const bool stamps_first = testing::fault(Fault::stamps_read_before_entry);
    if (!cache::shared.cache.read(l.key, stamps_first ? core::Part::groups : part, l.head, reserve_any))
        return false;
    if (!stamps_first)
        testing::point("between-entry-and-stamps");
    if (!is_current(l.d, l.depends_on(), l.eligibility, l.head) &&
        !(testing::fault(Fault::miss_not_stamped) && l.head.document_bytes == 0))
        return false;
    if (stamps_first) {
        testing::point("between-entry-and-stamps");
        (void)cache::shared.cache.read(l.key, part, l.head, reserve_any);
    }
    return is_in_window(l.head);
}

// The same for this backend's own copies. These are made of shared entries only, so they never contain what a
// transaction loaded that may still be rolled back.
const core::FirstLevel::LocalEntry* first_level_hit(const Definition& d, Datum key,
                                                    const Eligibility& eligibility) {
    if (!eligibility.may_use && !(testing::fault(Fault::first_level_own_writes_ignored) &&
                                  eligibility.why == cache::Count::bypass_own_writes))
        return nullptr;
    KeyBuffer buffer;
    const core::FirstLevel::LocalEntry* copy = first_level.find(d.id, canonical_key(d.key_kind, key, buffer));
    if (copy == nullptr)
        return nullptr;
    const cache::Dependencies on{copy->hash, d.floor, copy->group_stamps()};
    return is_current(d, on, eligibility, copy->head) && is_in_window(copy->head) ? copy : nullptr;
}

// Returns whether this reader could use what another session loads now.
bool is_worth_a_turn(const Lookup& l) {
    std::uint64_t versions = 0;
    const cache::Dependencies on{l.key.hash, l.d.floor, {}};  // which groups, the load will show
    const bool may_install = l.eligibility.may_install && !l.d.differs_by_calls;
    return may_install && settled(on, l.eligibility.xids(), versions);
}

// What this backend has read itself, for use when shared memory has no answer. If `known` is nullptr,
// `moment` is when the load begins.
struct Recall {
    Moment moment;
    Remembered* known;
};

[[gnu::noinline]] bool recall(const Lookup& l, Recall& recalled) {
    recalled.moment = memo_moment(l.d, l.key.hash);
    recalled.known = memo_find(l.d, l.key, recalled.moment);
    return recalled.known != nullptr;
}

// Returns whether the key was read from shared memory, and fills `recalled` if it was not. When several
// sessions miss a key at once, one of them has the turn and loads; the others look again when it is done.
template <typename Reserve>
bool try_hit(Lookup& l, core::Part part, Reserve&& reserve, Recall& recalled) {
    if (!l.eligibility.may_use) {
        count(l, l.eligibility.why);
        (void)recall(l, recalled);
        return false;
    }
    if (hit(l, part, reserve) ||
        (definition_becomes_usable(l.d) && l.is_named_as_before() && hit(l, part, reserve))) {
        count(l, cache::Count::hits);
        return true;
    }
    if (recall(l, recalled)) {
        count(l, cache::Count::misses);
        return false;
    }
    if (is_worth_a_turn(l) && cache::take_turn(l.key.hash) != cache::Turn::alone && hit(l, part, reserve)) {
        cache::end_turn();
        count(l, cache::Count::hits);
        return true;
    }
    count(l, cache::Count::misses);
    pg::refresh_xid_reference();
    return false;
}

Loaded load_for(Lookup& l, Datum key, const Recall& recalled) {
    if (ActiveSnapshotSet()) {
        const Loaded loaded = load(l.d, key, l.eligibility.may_install);
        cache::end_turn();
        if (!loaded.kept)
            memo_keep(l.d, l.key, recalled.moment, loaded);
        return loaded;
    }
    PushActiveSnapshot(GetTransactionSnapshot());
    const Loaded loaded = load(l.d, key, false);
    PopActiveSnapshot();
    return loaded;
}

template <typename T>
T* copy_of(const T* known) {
    if (known == nullptr)
        return nullptr;
    const std::size_t bytes = VARSIZE(known);
    return static_cast<T*>(memcpy(palloc(bytes), known, bytes));
}

const char* check_contract(const Definition& d, const char* access) {
    if (!core::Access(access).well_formed()) [[unlikely]]
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a document of projection \"%s\" does not follow the contract of \"me\"",
                               NameStr(d.name)),
                        errhint("Its roles must be [\"name\", ...] or [{\"role\": ..., \"on\": \"global\" | "
                                "{\"institutional_id\": ...} | {\"<kind>\": ...}}, ...].")));
    return access;
}

}  // namespace

Reading read_document(Definition& d, Datum key) {
    cache::require_preloaded();
    Lookup l(d, key);
    Jsonb* document = nullptr;
    const auto reserve = [&document](std::size_t bytes) {
        document = static_cast<Jsonb*>(palloc(bytes));
        return reinterpret_cast<char*>(document);
    };
    Recall recalled;
    if (try_hit(l, core::Part::document, reserve, recalled))
        return {.found = l.was_found(), .document = l.was_found() ? document : nullptr};
    if (recalled.known != nullptr) {
        document = copy_of(recalled.known->document);
        return {.found = document != nullptr, .document = document};
    }
    const Loaded loaded = load_for(l, key, recalled);
    return {.found = loaded.document != nullptr, .document = loaded.document};
}

namespace {

Reading known_access(const Definition& d, Remembered& known) {
    if (known.document == nullptr)
        return {};
    return {.found = true, .access = check_contract(d, memo_access(known))};
}

[[gnu::noinline]] Remembered* repeat(const Definition& d, Datum key) {
    KeyBuffer buffer;
    return memo_repeat(d, canonical_key(d.key_kind, key, buffer));
}

Reading read_shared_access(Definition& d, Datum key, const Eligibility& eligibility, AccessBuffer& buffer) {
    Lookup l(d, key, eligibility);
    char* block = nullptr;
    const auto reserve = [&](std::size_t bytes) {
        return block = bytes <= AccessBuffer::size ? buffer.bytes : static_cast<char*>(palloc(bytes));
    };
    Recall recalled;
    if (try_hit(l, core::Part::access, reserve, recalled)) {
        first_level.keep(l.key, l.head, l.groups.of(l.head), block);
        if (!l.was_found())
            return {};
        return {.found = true, .access = check_contract(d, block)};
    }
    if (recalled.known != nullptr)
        return known_access(d, *recalled.known);
    const Loaded loaded = load_for(l, key, recalled);
    if (loaded.document == nullptr)
        return {};
    core::AccessFacts facts = read_access(loaded.document);
    return {.found = true, .access = check_contract(d, pack_access(facts).data())};
}

}  // namespace

Reading read_access(Definition& d, Datum key, AccessBuffer& buffer) {
    cache::require_preloaded();
    const Eligibility eligibility = eligibility_of(d);
    if (const auto* copy = first_level_hit(d, key, eligibility); copy != nullptr) {
        cache::counters::add(d.counters, cache::Count::hits);
        if (copy->head.document_bytes == 0)
            return {};
        return {.found = true, .access = check_contract(d, copy->block)};
    }
    if (!eligibility.may_use) [[unlikely]]
        if (Remembered* known = repeat(d, key); known != nullptr) {
            cache::counters::add(d.counters, eligibility.why);
            return known_access(d, *known);
        }
    return read_shared_access(d, key, eligibility, buffer);
}

// The text is an entry of its own, made from the document's entry with the same versions, groups and window,
// so it is exactly as current. It is made from entries only, so that only keys that are read repeatedly have
// one.
text* read_text(Definition& d, Datum key) {
    cache::require_preloaded();
    Lookup l(d, key);
    text* result = nullptr;
    const auto reserve = [&result](std::size_t bytes) {
        result = static_cast<text*>(palloc(bytes));
        return reinterpret_cast<char*>(result);
    };
    l.key.form = core::Form::text;
    if (l.eligibility.may_use && hit(l, core::Part::document, reserve)) {
        count(l, cache::Count::hits);
        return l.was_found() ? result : nullptr;
    }

    l.key.form = core::Form::document;
    Jsonb* document = nullptr;
    const auto reserve_document = [&document](std::size_t bytes) {
        document = static_cast<Jsonb*>(palloc(bytes));
        return reinterpret_cast<char*>(document);
    };
    Recall recalled;
    const bool was_hit = try_hit(l, core::Part::document, reserve_document, recalled);
    if (!was_hit && recalled.known != nullptr)
        return recalled.known->document != nullptr ? copy_of(memo_text(*recalled.known)) : nullptr;
    if (!was_hit)
        document = load_for(l, key, recalled).document;
    if (document == nullptr || (was_hit && !l.was_found()))
        return nullptr;

    result = document_text(document);
    testing::point("before-text");
    if (was_hit && l.eligibility.may_install) {
        l.key.form = core::Form::text;
        l.head.document_bytes = VARSIZE(result);
        l.head.access_bytes = 0;
        const std::span<const std::uint32_t> groups = l.groups.of(l.head);
        if (testing::fault(Fault::text_of_newest_versions))
            l.head.versions = cache::floor_versions(l.d.floor) + cache::stamp_versions(l.depends_on());
        count(l, put(l.key, l.head,
                     {.groups = reinterpret_cast<const char*>(groups.data()),
                      .access = nullptr,
                      .document = reinterpret_cast<const char*>(result)}));
    }
    return result;
}

namespace {

const char* reason_of(cache::Count why) {
    switch (why) {
        case cache::Count::bypass_off:
            return "rolecall.cache is off";
        case cache::Count::bypass_recovery:
            return "the server is in recovery";
        case cache::Count::bypass_serializable:
            return "the transaction is serializable";
        case cache::Count::bypass_own_writes:
            return "this transaction may have changed it";
        default:
            return "there is no snapshot that the cache can answer for";
    }
}

const char* why_not_kept(const Definition& d, const core::Writers& writers) {
    if (d.differs_here)
        return "this session has temporary objects, which a function of the view may find in the place of "
               "others";
    if (d.problems != NIL && d.ttl == 0)
        return static_cast<const Problem*>(linitial(d.problems))->text;
    if (writers.unfinished != 0)
        return psprintf("transaction " UINT64_FORMAT
                        ", which may have changed it, has not finished for this snapshot",
                        writers.unfinished);
    return nullptr;
}

}  // namespace

Inspection inspect(Definition& d, Datum key) {
    Lookup l(d, key);
    Inspection found;
    found.cached =
        cache::shared.cache.read(l.key, core::Part::groups, l.head,
                                 [&](core::Part, std::size_t size) { return l.groups.reserve(size); });
    if (!found.cached)
        l.head = {};
    found.head = l.head;
    const core::Writers writers = cache::writers_of(l.depends_on(), l.eligibility.xids());
    found.changed_by = writers.latest;
    if (!l.eligibility.may_use) {
        found.reason = reason_of(l.eligibility.why);
        return found;
    }
    found.reason = why_not_kept(d, writers);
    if (found.reason != nullptr)
        return found;
    if (!found.cached)
        found.reason = "it was not read since the server started, or made room for others";
    else if (!is_current(d, l.depends_on(), l.eligibility, l.head))
        found.reason =
            d.ttl > 0 && !is_within_ttl(d, l.head) ? "its ttl has passed" : "it changed since it was loaded";
    else if (!is_in_window(l.head))
        found.reason = "it does not hold at the current time";
    const bool is_of_session = found.reason != nullptr && d.runs_text;
    if (const char* why = is_of_session ? why_compiled_differs(d.differs_by_calls) : nullptr)
        found.reason = why;
    return found;
}

}  // namespace rolecall::projection
