#include "workers/lines.h"

namespace rolecall::workers {

namespace {

constexpr std::chrono::milliseconds longest_batch{500};

}  // namespace

void Lines::finish(sync::JobPtr job) {
    Line& line = of(*job->provider);
    --line.asked;
    ++finished_;
    finished_bytes_ += job->bytes();
    line.finished_bytes += job->bytes();
    line.finished.push_back(std::move(job));
}

std::vector<sync::JobPtr> Lines::next_batch(std::size_t most) {
    std::vector<sync::JobPtr> batch;
    batch_bytes_ = 0;
    for (; finished_ > 0 && batch.size() < std::min(most, most_in_batch_) && batch_bytes_ < bytes_to_settle;
         --finished_) {
        auto it = lines_.upper_bound(served_last_);
        while (it == lines_.end() || it->second.finished.empty())
            it = it == lines_.end() ? lines_.begin() : std::next(it);
        auto& [server, line] = *it;
        sync::JobPtr job = std::move(line.finished.front());
        line.finished.pop_front();
        line.finished_bytes -= job->bytes();
        batch_bytes_ += job->bytes();
        batch.push_back(std::move(job));
        served_last_ = server;
    }
    return batch;
}

void Lines::settled(std::size_t users, Clock::duration took) {
    finished_bytes_ -= batch_bytes_;
    if (took > longest_batch)
        most_in_batch_ = std::max<std::size_t>(1, users / 2);
    else if (took < longest_batch / 4)
        most_in_batch_ = std::min(2 * most_in_batch_, most_users);
}

void Lines::clear() {
    lines_.clear();
    finished_ = 0;
    finished_bytes_ = 0;
}

}  // namespace rolecall::workers
