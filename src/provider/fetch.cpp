#include "provider/fetch.h"

#include "http/curl_transport.h"
#include "http/fetcher.h"
#include "http/url.h"
#include "pg/clock.h"
#include "pg/guard.h"
#include "pg/process.h"
#include "pg/settings.h"
#include "provider/statistics.h"

extern "C" {
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
}

namespace rolecall::provider {

namespace {

using http::Completion;
using http::Fetcher;
using http::Phase;

constexpr std::chrono::seconds longest_wait{3600};  // the limit for Retry-After
constexpr int other_descriptors = 8;                // for latches, and for what a transport opens itself

// libcurl calls these functions, so they must not raise errors.
class ServerDescriptors final : public http::Descriptors {
 public:
    bool reserve() override { return AcquireExternalFD(); }
    void release() override { ReleaseExternalFD(); }
};

// There is one for the life of the backend, so that connections are reused.
Fetcher& session_fetcher() {
    static Fetcher fetcher(make_transport());
    return fetcher;
}

// Cancels its fetch if the wait ends early.
class PendingFetch {
 public:
    PendingFetch(Fetcher& fetcher, const std::vector<http::PagedRequest>& requests)
        : fetcher_(fetcher), id_(fetcher.start(requests)) {}
    ~PendingFetch() { fetcher_.cancel(id_); }
    PendingFetch(const PendingFetch&) = delete;
    PendingFetch& operator=(const PendingFetch&) = delete;

    http::Fetched wait() {
        for (;;) {
            for (http::Fetched& ended : fetcher_.advance())
                if (ended.id == id_)
                    return std::move(ended);
            pause();
        }
    }

 private:
    void pause() {
        pg::call([this] {
            const auto timeout = static_cast<long>(fetcher_.timeout().count());
            (void)WaitLatchOrSocket(MyLatch,
                                    WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                                    fetcher_.fd(), timeout, pg::wait_for_answer.id());
            ResetLatch(MyLatch);
            CHECK_FOR_INTERRUPTS();
        });
    }

    Fetcher& fetcher_;
    http::FetchId id_;
};

http::Request request_for(const Provider& p, const std::string& url) {
    http::Request request;
    request.url = url;
    request.headers = p.headers;
    request.credentials = p.credentials;
    request.ca_file = p.ca_file;
    request.proxy = p.proxy;
    request.timeout = p.timeout;
    request.connect_timeout = p.connect_timeout;
    request.max_response_bytes = std::size_t{1024} * settings::max_response_size;
    return request;
}

// Only the first request counts. A later one is for the roles only, and may not find them for other reasons.
bool is_not_found(const http::Fetched& fetched) {
    return fetched.failed && fetched.failed_at_once && fetched.failed->failed_in == Phase::none &&
           (fetched.failed->status == 404 || fetched.failed->status == 410);
}

std::string status_of(const Completion& done) {
    return "It answered with HTTP status " + std::to_string(done.status) + ".";
}

// Returns the error with which a fetch ended, if any.
std::optional<Error> error_of(const Provider& p, const http::Fetched& fetched) {
    if (fetched.refused)
        return Error("RC104", "provider \"" + p.name + "\" gave an answer that cannot be used",
                     fetched.refused->detail(), fetched.refused->hint());
    if (fetched.is_complete() || is_not_found(fetched))
        return std::nullopt;
    const Completion& done = *fetched.failed;
    if (done.failed_in != Phase::none)
        return Error("RC101", "provider \"" + p.name + "\" could not be asked",
                     "The request failed in phase \"" + std::string(to_string(done.failed_in)) +
                         "\": " + done.failure + ".");
    const std::string status = status_of(done);
    if (done.status == 401 || done.status == 403)
        return Error("RC102", "provider \"" + p.name + "\" refused the request", status,
                     "Check the option auth and the user mapping of the server's owner.");
    if (done.status == 429 || done.status >= 500)
        return Error("RC101", "provider \"" + p.name + "\" is not available", status);
    return Error("RC104", "provider \"" + p.name + "\" gave an answer that cannot be used", status,
                 "Check the options base_url and request_path.");
}

// Returns whether the error concerns the provider rather than the subject.
bool is_trouble(const Error& error) {
    return strcmp(error.sqlstate(), "RC101") == 0 || strcmp(error.sqlstate(), "RC102") == 0;
}

// Returns whether the session has set its timeout itself. If so, a missing answer says nothing about the
// provider.
bool is_impatient(const Provider& p, const http::Fetched& fetched) {
    if (pg::is_background() || fetched.failed->failed_in == Phase::none)
        return false;
    return (p.timeout.count() == settings::request_timeout &&
            pg::is_set_for_session("rolecall.request_timeout")) ||
           (p.connect_timeout.count() == settings::connect_timeout &&
            pg::is_set_for_session("rolecall.connect_timeout"));
}

// Reports a request that is abandoned before its answer, so that the breaker does not wait for the result.
class Asked {
 public:
    explicit Asked(Oid server) : server_(server) {}
    ~Asked() {
        if (!is_answered_)
            report_abandoned(server_, pg::now());
    }
    Asked(const Asked&) = delete;
    Asked& operator=(const Asked&) = delete;
    void answered() { is_answered_ = true; }

 private:
    Oid server_;
    bool is_answered_ = false;
};

std::string seconds_text(TimestampTz microseconds) {
    return std::to_string((microseconds + USECS_PER_SEC - 1) / USECS_PER_SEC) + " s";
}

// (Measured by the steady clock, because the system clock may be set back meanwhile.)
void wait_for(TimestampTz microseconds) {
    const TimestampTz until = pg::steady_now() + microseconds;
    for (TimestampTz left = microseconds; left > 0; left = until - pg::steady_now())
        pg::call(
            [left] { pg::wait_for_latch(static_cast<long>(left / 1000 + 1), -1, pg::wait_for_rate_limit); });
}

void require_turn(const Provider& p, Permission permission, TimestampTz wait) {
    if (permission == Permission::yes)
        return;
    throw Error(
        "RC105", "provider \"" + p.name + "\" is not asked now",
        permission == Permission::no
            ? "It failed several times in a row, or wants to be left alone; it may be asked again in " +
                  seconds_text(wait) + "."
            : "Its rate limit is reached; it would be this request's turn in " + seconds_text(wait) +
                  ", which is longer than request_timeout.",
        "rolecall.stat_provider shows its state. trigger_role_sync_for_user() leaves it to the worker.");
}

// Waits for this session's turn, interruptibly: first in the line of sessions, then for the provider's rate
// limit.
void wait_for_turn(const Provider& p) {
    const TimestampTz most_wait = std::chrono::microseconds(p.timeout).count();
    const TimestampTz began = pg::steady_now();
    const TimestampTz time = pg::now();
    Place place;
    const Permission in_line = line_up(asking(p), time, most_wait, place);
    require_turn(p, in_line, place.when - time);
    try {
        wait_for(place.when - time);
    } catch (...) {
        leave_line(asking(p), place);
        throw;
    }
    const TimestampTz now = pg::now();
    TimestampTz when = now;
    const Permission permission =
        ask_in_turn(asking(p), now, std::max<TimestampTz>(0, began + most_wait - pg::steady_now()), when);
    if (permission != Permission::yes)
        leave_line(asking(p), place);
    require_turn(p, permission, when - now);
    try {
        wait_for(when - now);
    } catch (...) {
        leave_line(asking(p), place);
        give_turn_back(asking(p));
        report_abandoned(p.server, pg::now());
        throw;
    }
}

}  // namespace

// The limit is a third of max_safe_fds, which the server allows for external descriptors (AcquireExternalFD).
std::unique_ptr<http::Transport> make_transport() {
    static ServerDescriptors descriptors;
    return http::make_curl_transport(std::max(1, max_safe_fds / 3 - other_descriptors), &descriptors);
}

std::string in_utf8(const std::string& subject) {
    const int encoding = GetDatabaseEncoding();
    if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
        return subject;
    const char* converted = pg::call([&]() -> const char* {
        const Oid conversion = FindDefaultConversionProc(encoding, PG_UTF8);
        const auto length = static_cast<int>(subject.size());
        const int room = length * MAX_CONVERSION_GROWTH + 1;
        auto* from = reinterpret_cast<unsigned char*>(pstrdup(subject.c_str()));
        auto* to = static_cast<unsigned char*>(palloc0(static_cast<std::size_t>(room)));
        if (!OidIsValid(conversion) || pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8, from,
                                                                     length, to, room, true) != length)
            return nullptr;
        return reinterpret_cast<char*>(to);
    });
    return converted == nullptr ? subject : converted;
}

std::vector<http::PagedRequest> requests_for(const Provider& p, const std::string& subject,
                                             const http::Validators& known, const std::string& request_id) {
    std::vector<http::PagedRequest> requests{
        {request_for(p, http::request_url(p.base_url, p.request_path, subject)), {}}};
    if (!p.roles_request_path.empty())
        requests.push_back(
            {request_for(p, http::request_url(p.base_url, p.roles_request_path, subject)), {}});
    requests.back().paging = p.paging;
    for (http::PagedRequest& paged : requests)
        paged.request.headers.push_back("X-Request-Id: " + request_id);
    if (p.paging.style == http::Paging::Style::none)
        requests.back().request.validators = known;
    return requests;
}

Asking asking(const Provider& p) {
    return {.server = p.server, .per_second = p.rate_limit, .requests = p.roles_request_path.empty() ? 1 : 2};
}

void judge(const Provider& p, const http::Fetched& fetched, const std::string& subject) {
    const TimestampTz time = pg::now();
    Asking more = asking(p);
    more.requests = fetched.requests - more.requests;
    if (more.requests > 0)
        report_requests(more, time);
    const std::optional<Error> error = error_of(p, fetched);
    if (!error || !is_trouble(*error)) {
        report_answer(p.server);
    } else if (is_impatient(p, fetched)) {
        report_abandoned(p.server, time);
    } else {
        report_trouble(p.server, subject, time);
        const std::chrono::seconds wait = std::min(fetched.failed->retry_after, longest_wait);
        if (wait.count() > 0)
            report_wait(p.server, time + wait.count() * USECS_PER_SEC);
    }
    if (error && fetched.answers.empty())
        throw Error(*error);
}

Answers fetch(const Provider& p, const std::string& subject, const http::Validators& known,
              const std::string& request_id) {
    wait_for_turn(p);
    Asked asked(p.server);
    PendingFetch flight(session_fetcher(), requests_for(p, in_utf8(subject), known, request_id));
    http::Fetched fetched = flight.wait();
    asked.answered();
    judge(p, fetched, subject);
    return answers_of(p, std::move(fetched));
}

http::Request list_request(const Provider& p, const std::string& request_id) {
    http::Request request = request_for(p, p.base_url + p.list_request_path);
    request.headers.push_back("X-Request-Id: " + request_id);
    return request;
}

Completion fetch_page(const Provider& p, const http::Request& request) {
    wait_for_turn(p);
    Asked asked(p.server);
    PendingFetch flight(session_fetcher(), {{request, {}}});
    http::Fetched fetched = flight.wait();
    asked.answered();
    judge(p, fetched);
    if (!fetched.is_complete())
        throw Error("RC104", "provider \"" + p.name + "\" gave an answer that cannot be used",
                    status_of(*fetched.failed), "Check the option list_request_path.");
    return std::move(fetched.answers.front().front());
}

Answers answers_of(const Provider& p, http::Fetched fetched) {
    const std::string not_found = is_not_found(fetched) ? status_of(*fetched.failed) : std::string();
    std::optional<Error> failed = error_of(p, fetched);
    std::size_t bytes = 0;
    for (const http::Pages& answer : fetched.answers)
        for (const Completion& page : answer)
            bytes += page.received;
    return {.pages = std::move(fetched.answers),
            .not_found = not_found,
            .bytes = bytes,
            .failed = std::move(failed)};
}

}  // namespace rolecall::provider
