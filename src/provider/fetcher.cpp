#include "provider/fetcher.h"

#include <algorithm>

namespace rolecall::provider {

namespace {

bool is_good(const Completion& completion) {
    return completion.failed_in == Phase::none && completion.status >= 200 && completion.status < 300;
}

}  // namespace

void Fetcher::give_up(const Fetch& fetch) {
    for (const RequestId request : fetch.requests)
        if (owners_.erase(request) > 0)
            transport_->cancel(request);
}

FetchId Fetcher::start(const std::vector<Request>& requests) {
    Fetch fetch;
    try {
        for (const Request& request : requests) {
            fetch.requests.push_back(transport_->start(request));
            owners_[fetch.requests.back()] = last_id_ + 1;
        }
    } catch (...) {
        give_up(fetch);
        throw;
    }
    fetch.missing = requests.size();
    fetch.completions.resize(requests.size());
    fetches_[++last_id_] = std::move(fetch);
    return last_id_;
}

void Fetcher::cancel(FetchId id) {
    const auto it = fetches_.find(id);
    if (it == fetches_.end())
        return;
    give_up(it->second);
    fetches_.erase(it);
}

std::vector<Fetched> Fetcher::advance() {
    std::vector<Fetched> ended;
    for (Completion& completion : transport_->advance()) {
        const auto owner = owners_.find(completion.id);
        if (owner == owners_.end())
            continue;
        const FetchId id = owner->second;
        owners_.erase(owner);
        Fetch& fetch = fetches_.at(id);
        const auto place = std::find(fetch.requests.begin(), fetch.requests.end(), completion.id);
        completion.part = static_cast<std::size_t>(place - fetch.requests.begin());
        if (!is_good(completion)) {
            give_up(fetch);
            Fetched failed{.id = id, .completions = {}};
            failed.completions.push_back(std::move(completion));
            ended.push_back(std::move(failed));
            fetches_.erase(id);
            continue;
        }
        fetch.completions[completion.part] = std::move(completion);
        if (--fetch.missing == 0) {
            ended.push_back({.id = id, .completions = std::move(fetch.completions)});
            fetches_.erase(id);
        }
    }
    return ended;
}

}  // namespace rolecall::provider
