#include "sync/fetch.h"

#include "core/error.h"
#include "pg/guard.h"
#include "pg/settings.h"
#include "provider/curl_transport.h"
#include "provider/url.h"

extern "C" {
#include "pgstat.h"
#include "storage/latch.h"
}

namespace rolecall::sync {

namespace {

using provider::Completion;
using provider::Phase;
using provider::RequestId;
using provider::Transport;

// One for the life of the backend, so that connections are reused.
Transport& session_transport() {
    static const std::unique_ptr<Transport> transport = provider::make_curl_transport();
    return *transport;
}

// Gives requests up when the wait for them ends early.
class Flight {
 public:
    explicit Flight(Transport& transport) : transport_(transport) {}
    ~Flight() {
        for (const RequestId id : waiting_)
            transport_.cancel(id);
    }
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    void start(const provider::Request& request) { waiting_.push_back(transport_.start(request)); }

    // In the order of start().
    std::vector<Completion> wait() {
        std::vector<Completion> done(waiting_.size());
        const std::vector<RequestId> order = waiting_;
        while (!waiting_.empty()) {
            for (Completion& completion : transport_.advance()) {
                const auto place = std::find(order.begin(), order.end(), completion.id);
                if (place == order.end())
                    continue;
                std::erase(waiting_, completion.id);
                done[static_cast<std::size_t>(place - order.begin())] = std::move(completion);
            }
            if (!waiting_.empty())
                pause();
        }
        return done;
    }

 private:
    void pause() {
        pg::call([this] {
            const long timeout = static_cast<long>(transport_.timeout().count());
            (void)WaitLatchOrSocket(MyLatch,
                                    WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                                    transport_.fd(), timeout, PG_WAIT_EXTENSION);
            ResetLatch(MyLatch);
            CHECK_FOR_INTERRUPTS();
        });
    }

    Transport& transport_;
    std::vector<RequestId> waiting_;
};

provider::Request request_for(const Provider& p, const std::string& path, const std::string& subject) {
    provider::Request request;
    request.url = provider::request_url(p.base_url, path, subject);
    request.credentials = p.credentials;
    request.ca_file = p.ca_file;
    request.timeout = p.timeout;
    request.max_response_bytes = std::size_t{1024} * settings::max_response_size;
    return request;
}

}  // namespace

void check_completion(const Provider& p, const std::string& subject, const Completion& done) {
    if (done.failed_in != Phase::none)
        throw Error("RC101", "provider \"" + p.name + "\" could not be asked",
                    "The request failed in phase \"" + std::string(to_string(done.failed_in)) +
                        "\": " + done.failure + ".");
    if (done.status >= 200 && done.status < 300)
        return;
    const std::string status = "It answered with HTTP status " + std::to_string(done.status) + ".";
    if (done.status == 404 || done.status == 410)
        throw Error("RC103", "provider \"" + p.name + "\" does not know subject \"" + subject + "\"", status);
    if (done.status == 401 || done.status == 403)
        throw Error("RC102", "provider \"" + p.name + "\" refused the request", status,
                    "Check the option auth and the user mapping of the server's owner.");
    if (done.status == 429 || done.status >= 500)
        throw Error("RC101", "provider \"" + p.name + "\" is not available", status);
    throw Error("RC104", "provider \"" + p.name + "\" gave an answer that cannot be used", status,
                "Check the options base_url and request_path.");
}

Answers fetch(const Provider& p, const std::string& subject) {
    Flight flight(session_transport());
    flight.start(request_for(p, p.request_path, subject));
    if (!p.roles_request_path.empty())
        flight.start(request_for(p, p.roles_request_path, subject));
    std::vector<Completion> done = flight.wait();
    for (const Completion& completion : done)
        check_completion(p, subject, completion);
    Answers answers;
    answers.profile = std::move(done[0].body);
    if (done.size() > 1)
        answers.roles = std::move(done[1].body);
    return answers;
}

}  // namespace rolecall::sync
