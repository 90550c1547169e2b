// Users of whom a sync worker has taken hold, by provider: who waits to be asked for, and whose answers wait
// to be settled. Nobody waits for another provider's.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <deque>
#include <map>

#include "sync/job.h"

namespace rolecall::workers {

constexpr std::size_t bytes_to_settle = std::size_t{1} << 20;  // of answers: a batch is full
constexpr std::size_t most_bytes = std::size_t{16} << 20;      // ... and nobody else is asked for; shared out

/// Users of one provider.
struct Line {
    std::deque<sync::JobPtr> waiting;     ///< claimed, not yet asked for
    bool is_full = false;                 ///< there may be more to claim
    int asked = 0;                        ///< requests under way
    std::optional<TimestampTz> turn{};    ///< when the next may be asked for: its place in the line
    std::deque<sync::JobPtr> finished{};  ///< answered, or failed; to be settled
    std::size_t finished_bytes = 0;       ///< their answers'
};

class Lines {
 public:
    using Clock = std::chrono::steady_clock;

    Line& of(const provider::Provider& provider) { return lines_[provider.server]; }
    std::map<Oid, Line>& all() { return lines_; }

    /// What is finished, of all providers; bytes with those of the batch being settled.
    std::size_t finished() const { return finished_; }
    std::size_t finished_bytes() const { return finished_bytes_; }

    /// Is there room for more answers of a provider?
    bool has_room(const Line& line) const { return line.finished_bytes < most_bytes / lines_.size(); }

    void finish(sync::JobPtr job);

    /// Takes what is to be settled next, one of each provider in turn, as far as `most`, size and the time
    /// that batches take allow.
    std::vector<sync::JobPtr> next_batch(std::size_t most);

    /// It is settled. One that took long is followed by a smaller one: others wait for it.
    void settled(std::size_t users, Clock::duration took);

    void clear();

 private:
    static constexpr std::size_t most_users = 10'000;  // as many as rolecall.sync_batch_size may be

    std::map<Oid, Line> lines_;  // by server
    std::size_t finished_ = 0;
    std::size_t finished_bytes_ = 0;
    std::size_t batch_bytes_ = 0;
    std::size_t most_in_batch_ = most_users;
    Oid served_last_ = InvalidOid;
};

}  // namespace rolecall::workers
