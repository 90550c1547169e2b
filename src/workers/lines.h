// Users that a sync worker has claimed, by provider: those not yet asked for, and those whose answers are not
// yet settled. No user waits for another provider's.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <deque>
#include <map>

#include "sync/job.h"

namespace rolecall::workers {

constexpr std::size_t bytes_to_settle = std::size_t{1} << 20;  // of answers: a batch is full
constexpr std::size_t most_bytes = std::size_t{16} << 20;      // ... no more are asked for; shared out

/// The claimed users of one provider.
struct Line {
    std::deque<sync::JobPtr> waiting;     ///< claimed, not yet asked for
    bool is_full = false;                 ///< there may be more to claim
    int asked = 0;                        ///< requests under way
    std::optional<TimestampTz> turn{};    ///< when the rate limit allows the next request
    std::deque<sync::JobPtr> finished{};  ///< answered or failed; to be settled
    std::size_t finished_bytes = 0;       ///< of their answers
};

class Lines {
 public:
    using Clock = std::chrono::steady_clock;

    Line& of(const provider::Provider& provider) { return lines_[provider.server]; }
    std::map<Oid, Line>& all() { return lines_; }

    /// The number of finished jobs of all providers, and the bytes of their answers. The bytes include the
    /// batch that is being settled.
    std::size_t finished() const { return finished_; }
    std::size_t finished_bytes() const { return finished_bytes_; }

    /// Returns whether there is room for more answers of a provider.
    bool has_room(const Line& line) const { return line.finished_bytes < most_bytes / lines_.size(); }

    void finish(sync::JobPtr job);

    /// Takes the jobs to settle next, one of each provider in turn. Their number is limited by `most`, by the
    /// size of the answers, and by the time that earlier batches took.
    std::vector<sync::JobPtr> next_batch(std::size_t most);

    /// Reports that the batch is settled. After a slow batch the next one is smaller, because other users
    /// wait for it.
    void settled(std::size_t users, Clock::duration took);

    void clear();

 private:
    static constexpr std::size_t most_users = 10'000;  // the maximum of rolecall.sync_batch_size

    std::map<Oid, Line> lines_;  // by server
    std::size_t finished_ = 0;
    std::size_t finished_bytes_ = 0;
    std::size_t batch_bytes_ = 0;
    std::size_t most_in_batch_ = most_users;
    Oid served_last_ = InvalidOid;
};

}  // namespace rolecall::workers
