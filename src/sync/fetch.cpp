#include "sync/fetch.h"

#include "pg/guard.h"
#include "pg/settings.h"
#include "provider/curl_transport.h"
#include "provider/fetcher.h"
#include "provider/url.h"
#include "sync/process.h"

extern "C" {
#include "pgstat.h"
#include "storage/latch.h"
}

namespace rolecall::sync {

namespace {

using provider::Completion;
using provider::Fetcher;
using provider::Phase;

// One for the life of the backend, so that connections are reused.
Fetcher& session_fetcher() {
    static Fetcher fetcher(provider::make_curl_transport());
    return fetcher;
}

// A fetch that is given up when the wait for it ends early.
class Flight {
 public:
    Flight(Fetcher& fetcher, const std::vector<provider::PagedRequest>& requests)
        : fetcher_(fetcher), id_(fetcher.start(requests)) {}
    ~Flight() { fetcher_.cancel(id_); }
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    provider::Fetched wait() {
        for (;;) {
            for (provider::Fetched& ended : fetcher_.advance())
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
                                    fetcher_.fd(), timeout, wait_for_answer.id());
            ResetLatch(MyLatch);
            CHECK_FOR_INTERRUPTS();
        });
    }

    Fetcher& fetcher_;
    provider::FetchId id_;
};

provider::Request request_for(const Provider& p, const std::string& path, const std::string& subject) {
    provider::Request request;
    request.url = provider::request_url(p.base_url, path, subject);
    request.headers = p.headers;
    request.credentials = p.credentials;
    request.ca_file = p.ca_file;
    request.proxy = p.proxy;
    request.timeout = p.timeout;
    request.connect_timeout = p.connect_timeout;
    request.max_response_bytes = std::size_t{1024} * settings::max_response_size;
    return request;
}

}  // namespace

std::vector<provider::PagedRequest> requests_for(const Provider& p, const std::string& subject,
                                                 const provider::Validators& known,
                                                 const std::string& request_id) {
    std::vector<provider::PagedRequest> requests{{request_for(p, p.request_path, subject), {}}};
    if (!p.roles_request_path.empty())
        requests.push_back({request_for(p, p.roles_request_path, subject), {}});
    requests.back().paging = p.paging;
    for (provider::PagedRequest& paged : requests)
        paged.request.headers.push_back("X-Request-Id: " + request_id);
    if (p.paging.style == provider::Paging::Style::none)
        requests.back().request.validators = known;
    return requests;
}

namespace {

// Whoever is asked about a person's roles only may have other reasons not to find them.
bool is_not_found(const provider::Fetched& fetched) {
    return fetched.failed && fetched.failed_at_once && fetched.failed->failed_in == Phase::none &&
           (fetched.failed->status == 404 || fetched.failed->status == 410);
}

std::string status_of(const Completion& done) {
    return "It answered with HTTP status " + std::to_string(done.status) + ".";
}

}  // namespace

void check_fetched(const Provider& p, const provider::Fetched& fetched) {
    if (fetched.refused)
        throw Error("RC104", "provider \"" + p.name + "\" gave an answer that cannot be used",
                    fetched.refused->detail(), fetched.refused->hint());
    if (fetched.is_complete() || is_not_found(fetched))
        return;
    const Completion& done = *fetched.failed;
    if (done.failed_in != Phase::none)
        throw Error("RC101", "provider \"" + p.name + "\" could not be asked",
                    "The request failed in phase \"" + std::string(to_string(done.failed_in)) +
                        "\": " + done.failure + ".");
    const std::string status = status_of(done);
    if (done.status == 401 || done.status == 403)
        throw Error("RC102", "provider \"" + p.name + "\" refused the request", status,
                    "Check the option auth and the user mapping of the server's owner.");
    if (done.status == 429 || done.status >= 500)
        throw Error("RC101", "provider \"" + p.name + "\" is not available", status);
    throw Error("RC104", "provider \"" + p.name + "\" gave an answer that cannot be used", status,
                "Check the options base_url and request_path.");
}

bool is_trouble(const Error& error) {
    return strcmp(error.sqlstate(), "RC101") == 0 || strcmp(error.sqlstate(), "RC102") == 0;
}

Answers fetch(const Provider& p, const std::string& subject, const provider::Validators& known,
              const std::string& request_id) {
    Flight flight(session_fetcher(), requests_for(p, subject, known, request_id));
    provider::Fetched fetched = flight.wait();
    check_fetched(p, fetched);
    return answers_of(std::move(fetched));
}

Answers answers_of(provider::Fetched fetched) {
    return {.pages = std::move(fetched.answers),
            .not_found = is_not_found(fetched) ? status_of(*fetched.failed) : std::string()};
}

}  // namespace rolecall::sync
