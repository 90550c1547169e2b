// A circuit breaker for one provider (Nygard, "Release It!"). After several failures in a row no request is
// allowed for a while; then one caller may probe, and the result closes the breaker or opens it for longer.
// Failures of one subject count once, so that one subject requested again and again cannot open the breaker.
// Plain data, for shared memory; the caller holds the lock that guards it. Times are microseconds.
#pragma once

#include <cstdint>

#include "core/backoff.h"

namespace rolecall::core {

enum class BreakerState { closed, open, half_open };

class Breaker {
 public:
    static constexpr int failures_to_open = 5;
    static constexpr Backoff pauses{.first = 5'000'000, .most = 300'000'000};

    /// The kind of caller. A worker waits for its answer; a session may be cancelled and ask again.
    enum class Asker { worker, session };

    /// Returns whether a request may be made now. In half-open state only one caller may make one, and it
    /// must report the result.
    bool allow(std::int64_t now, Asker asker = Asker::worker) {
        set_clock(now);
        if (now < not_before_ || (asker == Asker::session && now < sessions_until_))
            return false;
        if (state_ == BreakerState::closed)
            return true;
        if (state_ == BreakerState::open && now >= until_) {
            state_ = BreakerState::half_open;
            until_ = now + longest_probe;
            return true;
        }
        if (state_ == BreakerState::half_open && now >= until_) {  // the probe was never reported
            until_ = now + longest_probe;
            return true;
        }
        return false;
    }

    /// Returns when to call allow() again, or `now` if it would return true. A probe under way is decided
    /// soon.
    std::int64_t next(std::int64_t now, Asker asker = Asker::worker) {
        set_clock(now);
        std::int64_t next = now;
        if (state_ == BreakerState::half_open && until_ > now)
            next = std::min(until_, now + probe_poll);
        else if (state_ == BreakerState::open)
            next = std::max(until_, now);
        if (asker == Asker::session)
            next = std::max(next, sessions_until_);
        return std::max(next, not_before_);
    }

    void succeeded() {
        const Breaker before = *this;
        *this = {};
        not_before_ = before.not_before_;
        seen_ = before.seen_;
    }

    /// Reports a request whose end says nothing about the provider. If it was the probe, another may be made
    /// at once. Workers may make it first, so that sessions which give up do not keep the breaker from
    /// finding out.
    void abandoned(std::int64_t now) {
        set_clock(now);
        if (state_ != BreakerState::half_open)
            return;
        state_ = BreakerState::open;
        until_ = now;
        sessions_until_ = now + workers_first;
    }

    /// Allows no request before `time`, because the provider demanded it. Results of other requests do not
    /// change this.
    void wait_until(std::int64_t time) { not_before_ = std::max(not_before_, time); }

    /// Reports a failure. `subject` is a hash of the subject of the request, or 0 when it had none.
    void failed(std::int64_t now, double chance, std::uint64_t subject = 0) {
        set_clock(now);
        if (state_ == BreakerState::closed && !is_news(subject))
            return;
        ++failures_;
        if (state_ == BreakerState::half_open ||
            (state_ == BreakerState::closed && failures_ >= failures_to_open)) {
            ++openings_;
            state_ = BreakerState::open;
            until_ = now + pauses.equal_jitter(openings_, chance);
        }
    }

    BreakerState state() const { return state_; }
    int failures() const { return failures_; }

    /// Returns whether a new breaker would behave the same.
    bool is_idle(std::int64_t now) const {
        return state_ == BreakerState::closed && failures_ == 0 && not_before_ <= now;
    }

 private:
    bool is_news(std::uint64_t subject) {
        if (subject == 0)
            return true;
        for (const std::uint64_t other : subjects_)
            if (other == subject)
                return false;
        subjects_[failures_ % failures_to_open] = subject;
        return true;
    }

    // Keeps pauses as long as they were when a clock that was ahead is set back.
    void set_clock(std::int64_t now) {
        const std::int64_t fell = clock_fell_by(seen_, now);
        until_ -= std::min(until_, fell);
        not_before_ -= std::min(not_before_, fell);
        sessions_until_ -= std::min(sessions_until_, fell);
        seen_ = now;
    }

    static constexpr std::int64_t longest_probe = 60'000'000;
    static constexpr std::int64_t probe_poll = 1'000'000;
    static constexpr std::int64_t workers_first = 5'000'000;

    BreakerState state_ = BreakerState::closed;
    int failures_ = 0;  // in a row
    int openings_ = 0;  // since it was last closed
    std::int64_t until_ = 0;
    std::int64_t not_before_ = 0;
    std::int64_t sessions_until_ = 0;
    std::int64_t seen_ = 0;                          // time of the last call
    std::uint64_t subjects_[failures_to_open] = {};  // of the failures in a row
};

}  // namespace rolecall::core
