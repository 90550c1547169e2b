#include "sync/fetch.h"

#include "pg/guard.h"
#include "pg/settings.h"
#include "provider/curl_transport.h"
#include "provider/fetcher.h"
#include "provider/url.h"

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
    Flight(Fetcher& fetcher, const std::vector<provider::Request>& requests)
        : fetcher_(fetcher), id_(fetcher.start(requests)) {}
    ~Flight() { fetcher_.cancel(id_); }
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    std::vector<Completion> wait() {
        for (;;) {
            for (provider::Fetched& ended : fetcher_.advance())
                if (ended.id == id_)
                    return std::move(ended.completions);
            pause();
        }
    }

 private:
    void pause() {
        pg::call([this] {
            const auto timeout = static_cast<long>(fetcher_.timeout().count());
            (void)WaitLatchOrSocket(MyLatch,
                                    WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                                    fetcher_.fd(), timeout, pg::wait_event("RolecallProviderAnswer"));
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
    request.timeout = p.timeout;
    request.max_response_bytes = std::size_t{1024} * settings::max_response_size;
    return request;
}

}  // namespace

std::vector<provider::Request> requests_for(const Provider& p, const std::string& subject) {
    std::vector<provider::Request> requests{request_for(p, p.request_path, subject)};
    if (!p.roles_request_path.empty())
        requests.push_back(request_for(p, p.roles_request_path, subject));
    return requests;
}

namespace {

// Whoever is asked about a person's roles only may have other reasons not to find them.
bool is_not_found(const Completion& done) {
    return done.failed_in == Phase::none && (done.status == 404 || done.status == 410) && done.part == 0;
}

std::string status_of(const Completion& done) {
    return "It answered with HTTP status " + std::to_string(done.status) + ".";
}

}  // namespace

void check_completion(const Provider& p, const Completion& done) {
    if (done.failed_in != Phase::none)
        throw Error("RC101", "provider \"" + p.name + "\" could not be asked",
                    "The request failed in phase \"" + std::string(to_string(done.failed_in)) +
                        "\": " + done.failure + ".");
    if ((done.status >= 200 && done.status < 300) || is_not_found(done))
        return;
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

Answers fetch(const Provider& p, const std::string& subject) {
    Flight flight(session_fetcher(), requests_for(p, subject));
    std::vector<Completion> done = flight.wait();
    for (const Completion& completion : done)
        check_completion(p, completion);
    return answers_of(std::move(done));
}

Answers answers_of(std::vector<Completion> completions) {
    Completion& profile = completions.front();
    if (is_not_found(profile))
        return {.profile = {}, .roles = {}, .not_found = status_of(profile)};
    return {.profile = std::move(profile.body),
            .roles = completions.size() > 1 ? std::move(completions[1].body) : std::string(),
            .not_found = {}};
}

}  // namespace rolecall::sync
