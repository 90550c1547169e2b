#include "http/fetcher.h"

#include <algorithm>

namespace rolecall::http {

namespace {

using std::chrono::milliseconds;

// With any other status, the body is something else than the answer, or only a part of it (206).
bool is_good(const Request& request, const Completion& completion) {
    constexpr int ok = 200;
    if (completion.failed_in != Phase::none)
        return false;
    return completion.status == ok || (completion.status == not_modified && !request.validators.empty());
}

}  // namespace

void Fetcher::ask(FetchId id, Fetch& fetch, PartialFetch& part, const Request& request) {
    part.under_way = transport_->start(request);
    owners_[part.under_way] = id;
    ++fetch.requests;
}

// Returns a failed completion if the page could not be requested, else nullopt.
std::optional<Completion> Fetcher::ask_for_next_page(FetchId id, Fetch& fetch, PartialFetch& part) {
    Request request = part.pager.request();
    part.room -= std::min(part.pages.back().received, part.room);
    request.max_response_bytes = part.room;
    request.timeout = std::chrono::duration_cast<milliseconds>(part.deadline - now_());
    Completion failed;
    failed.failed_in = Phase::body;
    failed.failure = "timed out";
    if (request.timeout <= milliseconds(0))
        return failed;
    try {
        ask(id, fetch, part, request);
        return std::nullopt;
    } catch (const std::exception& error) {
        failed.failure = error.what();
        return failed;
    }
}

void Fetcher::take(FetchId id, Fetch& fetch, Completion completion) {
    const auto part = std::find_if(fetch.parts.begin(), fetch.parts.end(),
                                   [&](const PartialFetch& p) { return p.under_way == completion.id; });
    part->under_way = 0;
    if (!is_good(part->pager.request(), completion)) {
        part->failed = std::move(completion);
        return;
    }
    part->pages.push_back(std::move(completion));
    try {
        if (part->pager.advance(part->pages.back()))
            part->failed = ask_for_next_page(id, fetch, *part);
    } catch (const Error& error) {
        part->refused = error;
    }
}

bool Fetcher::has_ended(const Fetch& fetch) {
    const auto failed = [](const PartialFetch& part) { return part.has_failed(); };
    const auto complete = [](const PartialFetch& part) { return part.is_complete(); };
    const PartialFetch& first = fetch.parts.front();
    return failed(first) || std::all_of(fetch.parts.begin(), fetch.parts.end(), complete) ||
           (complete(first) && std::any_of(fetch.parts.begin(), fetch.parts.end(), failed));
}

// The fetch must have ended.
Fetched Fetcher::result_of(FetchId id, Fetch fetch) {
    Fetched done;
    done.id = id;
    done.requests = fetch.requests;
    for (PartialFetch& part : fetch.parts) {
        if (part.has_failed()) {
            done.failed = std::move(part.failed);
            done.refused = std::move(part.refused);
            done.failed_at_once = done.failed && &part == fetch.parts.data() && part.pages.empty();
            break;
        }
        if (part.is_complete())
            done.answers.push_back(std::move(part.pages));
    }
    if (!done.is_complete() && done.answers.size() > 1)
        done.answers.resize(1);
    return done;
}

void Fetcher::give_up(const Fetch& fetch) {
    for (const PartialFetch& part : fetch.parts)
        if (part.under_way != 0 && owners_.erase(part.under_way) > 0)
            transport_->cancel(part.under_way);
}

FetchId Fetcher::start(const std::vector<PagedRequest>& requests) {
    Fetch fetch;
    const FetchId id = last_id_ + 1;
    try {
        for (const PagedRequest& paged : requests) {
            fetch.parts.push_back({.pager = Pager(paged.request, paged.paging),
                                   .under_way = 0,
                                   .deadline = now_() + paged.request.timeout,
                                   .room = paged.request.max_response_bytes,
                                   .pages = {}});
            ask(id, fetch, fetch.parts.back(), fetch.parts.back().pager.request());
        }
    } catch (...) {
        give_up(fetch);
        throw;
    }
    fetches_.emplace(id, std::move(fetch));
    return last_id_ = id;
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
        take(id, fetch, std::move(completion));
        if (!has_ended(fetch))
            continue;
        give_up(fetch);
        ended.push_back(result_of(id, std::move(fetch)));
        fetches_.erase(id);
    }
    return ended;
}

}  // namespace rolecall::http
