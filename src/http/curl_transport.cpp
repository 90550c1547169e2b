#include "http/curl_transport.h"

#include <curl/curl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): pthread_sigmask is POSIX
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "http/curl_transfer.h"
#include "http/retry_after.h"
#include "http/url.h"

namespace rolecall::http {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int most_redirects = 3;
constexpr milliseconds no_timer{60'000};
constexpr int events_at_once = 64;
constexpr std::size_t most_idle = 64;         // handles
constexpr std::size_t most_left_behind = 64;  // threads of abandoned name lookups
constexpr int own_descriptors = 3;            // the epoll set, and libcurl's wakeup socket pair

// Blocks all signals while libcurl runs, because a thread inherits the signal mask of the thread that starts
// it.
class QuietSignals {
 public:
    QuietSignals() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~QuietSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    QuietSignals(const QuietSignals&) = delete;
    QuietSignals& operator=(const QuietSignals&) = delete;

 private:
    sigset_t before_;
};

// Returns the number of threads of this process, without its main thread and one lookup for each transfer.
// The kernel counts threads as links of /proc/self/task.
std::size_t threads_left_behind(std::size_t transfers) {
    struct stat status {};
    constexpr std::size_t links_of_a_directory = 2;
    if (stat("/proc/self/task", &status) != 0)
        return 0;
    const std::size_t others = 1 + links_of_a_directory + transfers;
    return status.st_nlink > others ? status.st_nlink - others : 0;
}

class CurlTransport final : public Transport {
 public:
    CurlTransport(int most_connections, Descriptors* descriptors) : descriptors_(descriptors) {
        while (reserved_ < own_descriptors && reserve())
            ++reserved_;
        if (reserved_ == own_descriptors) {
            multi_ = curl_multi_init();
            epoll_ = epoll_create1(EPOLL_CLOEXEC);
        }
        if (multi_ == nullptr || epoll_ < 0) {
            release();
            throw std::runtime_error("could not set up the HTTP client");
        }
        curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS, static_cast<long>(most_connections));
        curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(most_connections));
        curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
        curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
#if LIBCURL_VERSION_NUM >= 0x081400
        // Name lookups run in a pool of threads, which the end of the process would wait for.
        curl_multi_setopt(multi_, CURLMOPT_QUICK_EXIT, 1L);
        curl_multi_setopt(multi_, CURLMOPT_RESOLVE_THREADS_MAX, static_cast<long>(most_left_behind));
#endif
    }

    ~CurlTransport() override {
        const QuietSignals quiet;
        for (auto& [easy, transfer] : transfers_)
            curl_multi_remove_handle(multi_, easy);
        transfers_.clear();
        idle_.clear();
        release();
    }

    CurlTransport(const CurlTransport&) = delete;
    CurlTransport& operator=(const CurlTransport&) = delete;

    RequestId start(const Request& request) override {
        const QuietSignals quiet;
        if (threads_left_behind(transfers_.size()) > most_left_behind)
            throw Error("53000", "too many name lookups do not end",
                        "More than " + std::to_string(most_left_behind) +
                            " of them were given up in this process, and still wait for a name server.");
        auto transfer = std::make_unique<Transfer>(take_handle());
        transfer->id = ++last_id_;
        transfer->limit = request.max_response_bytes;
        transfer->deadline = Clock::now() + request.timeout;
        transfer->url = request.url;
        configure(*transfer, request);
        CURL* easy = transfer->easy.get();
        transfers_.emplace(easy, std::move(transfer));
        if (curl_multi_add_handle(multi_, easy) != CURLM_OK) {
            transfers_.erase(easy);
            throw std::runtime_error("could not start an HTTP request");
        }
        return last_id_;
    }

    void cancel(RequestId id) override {
        const QuietSignals quiet;
        for (auto it = transfers_.begin(); it != transfers_.end(); ++it) {
            if (it->second->id == id) {
                curl_multi_remove_handle(multi_, it->first);
                transfers_.erase(it);
                return;
            }
        }
    }

    std::vector<Completion> advance() override {
        const QuietSignals quiet;
        int running = 0;
        epoll_event events[events_at_once];
        const int ready = epoll_wait(epoll_, events, events_at_once, 0);
        for (int i = 0; i < ready; ++i) {
            const auto flags = events[i].events;
            const int what = ((flags & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                             ((flags & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                             ((flags & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
            curl_multi_socket_action(multi_, events[i].data.fd, what, &running);
        }
        if (timer_set_ && Clock::now() >= timer_) {
            timer_set_ = false;
            curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        return collect();
    }

    int fd() const override { return epoll_; }

    milliseconds timeout() const override {
        if (!timer_set_)
            return no_timer;
        const auto left = std::chrono::ceil<milliseconds>(timer_ - Clock::now());
        return std::clamp(left, milliseconds{0}, no_timer);
    }

    std::size_t in_flight() const override { return transfers_.size(); }

 private:
    static int on_socket(CURL*, curl_socket_t socket, int what, void* argument, void*) {
        auto* self = static_cast<CurlTransport*>(argument);
        if (what == CURL_POLL_REMOVE) {
            epoll_ctl(self->epoll_, EPOLL_CTL_DEL, socket, nullptr);
            return 0;
        }
        epoll_event event{};
        event.data.fd = socket;
        event.events =
            ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
        // A closed socket leaves the epoll set by itself, and its number may be reused.
        if (epoll_ctl(self->epoll_, EPOLL_CTL_MOD, socket, &event) != 0)
            epoll_ctl(self->epoll_, EPOLL_CTL_ADD, socket, &event);
        return 0;
    }

    static int on_timer(CURLM*, long after, void* argument) {
        auto* self = static_cast<CurlTransport*>(argument);
        self->timer_set_ = after >= 0;
        if (after >= 0)
            self->timer_ = Clock::now() + milliseconds{after};
        return 0;
    }

    bool reserve() const { return descriptors_ == nullptr || descriptors_->reserve(); }

    void unreserve() const {
        if (descriptors_ != nullptr)
            descriptors_->release();
    }

    static curl_socket_t open_socket(void* argument, curlsocktype, curl_sockaddr* address) {
        auto* self = static_cast<CurlTransport*>(argument);
        if (!self->reserve())
            return CURL_SOCKET_BAD;
        const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
        if (fd < 0)
            self->unreserve();
        return fd < 0 ? CURL_SOCKET_BAD : fd;
    }

    static int close_socket(void* argument, curl_socket_t fd) {
        static_cast<CurlTransport*>(argument)->unreserve();
        return close(fd);
    }

    void configure(Transfer& t, const Request& request) {
        t.set(CURLOPT_PRIVATE, static_cast<void*>(&t));
        t.set(CURLOPT_URL, request.url.c_str());
        t.set(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
        // The libcurl in use may be older than the one at compile time. It then rejects the option, here and
        // in the constructor, and waits for the threads of name lookups.
        curl_easy_setopt(t.easy.get(), CURLOPT_QUICK_EXIT, 1L);
#endif
        t.set(CURLOPT_ERRORBUFFER, t.message);
        receive_into(t);
        t.set(CURLOPT_OPENSOCKETFUNCTION, open_socket);
        t.set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
        t.set(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
        t.set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(this));
        t.set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
        t.set(CURLOPT_CONNECTTIMEOUT_MS,
              static_cast<long>(std::min(request.timeout, request.connect_timeout).count()));
        t.set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
        // Requests share a connection only if the server is known to support that. If it is not known yet,
        // they would have to wait for the first answer, however long that takes.
        t.set(CURLOPT_PIPEWAIT, multiplexes(request.url) ? 1L : 0L);
        t.set(CURLOPT_PROTOCOLS_STR, "http,https");
        t.set(CURLOPT_FOLLOWLOCATION, 0L);  // followed by redirect(), to the same origin only
        t.set(CURLOPT_PATH_AS_IS, 1L);
        if (request.proxy)
            t.set(CURLOPT_PROXY, request.proxy->c_str());  // "": none, not even from the environment
        t.set(CURLOPT_USERAGENT, "rolecall");
        t.set(CURLOPT_SSL_VERIFYPEER, 1L);
        t.set(CURLOPT_SSL_VERIFYHOST, 2L);
        if (!request.ca_file.empty())
            t.set(CURLOPT_CAINFO, request.ca_file.c_str());

        t.headers.add("Accept: application/json");
        t.headers.add("Accept-Encoding: identity");
        for (const std::string& line : request.headers)
            t.headers.add(line);
        if (!request.validators.etag.empty())
            t.headers.add("If-None-Match: " + request.validators.etag);
        if (!request.validators.last_modified.empty())
            t.headers.add("If-Modified-Since: " + request.validators.last_modified);
        t.set(CURLOPT_HTTPHEADER, t.headers.list);

        switch (request.credentials.scheme) {
            case Credentials::Scheme::none:
                break;
            case Credentials::Scheme::basic:
                t.set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
                t.set(CURLOPT_USERNAME, request.credentials.username.c_str());
                t.set(CURLOPT_PASSWORD, request.credentials.secret.c_str());
                break;
            case Credentials::Scheme::bearer:
                t.set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BEARER));
                t.set(CURLOPT_XOAUTH2_BEARER, request.credentials.secret.c_str());
                break;
        }
    }

    bool multiplexes(const std::string& url) const {
        return std::any_of(multiplexing_.begin(), multiplexing_.end(),
                           [&](const std::string& known) { return same_origin(known, url); });
    }

    void note_version(const Transfer& t) {
        long version = 0;
        curl_easy_getinfo(t.easy.get(), CURLINFO_HTTP_VERSION, &version);
        if ((version >= CURL_HTTP_VERSION_2_0) == multiplexes(t.url))
            return;
        if (version >= CURL_HTTP_VERSION_2_0)
            multiplexing_.push_back(t.url);
        else
            std::erase_if(multiplexing_, [&](const std::string& known) { return same_origin(known, t.url); });
    }

    // Follows a redirect to the same origin. Returns false if there is none, or if it cannot be followed;
    // `done` then has the failure.
    bool redirect(Transfer& t, Completion& done) {
        char* target = nullptr;
        curl_easy_getinfo(t.easy.get(), CURLINFO_REDIRECT_URL, &target);
        if (target == nullptr || done.status < 300 || done.status >= 400)
            return false;
        const std::string next = target;
        done.failed_in = Phase::first_byte;
        if (!same_origin(t.url, next)) {
            done.failure = "redirect to another host refused";
            return false;
        }
        if (++t.redirects > most_redirects) {
            done.failure = "too many redirects";
            return false;
        }
        const auto left = std::chrono::duration_cast<milliseconds>(t.deadline - Clock::now());
        if (left <= milliseconds{0}) {
            done.failure = "timed out";
            return false;
        }
        t.body.clear();
        t.set(CURLOPT_TIMEOUT_MS, static_cast<long>(left.count()));
        t.set(CURLOPT_URL, next.c_str());
        done.failure = "could not follow a redirect";
        return curl_multi_add_handle(multi_, t.easy.get()) == CURLM_OK;
    }

    Completion complete(Transfer& t, CURLcode code) {
        Completion done;
        done.id = t.id;
        long status = 0;
        curl_easy_getinfo(t.easy.get(), CURLINFO_RESPONSE_CODE, &status);
        done.status = static_cast<int>(status);
        done.received = t.received;
        done.retry_after = retry_after(header_of(t.easy.get(), "Retry-After"), std::time(nullptr));
        if (code == CURLE_OK && within_limit(t)) {
            note_version(t);
            done.link = header_of(t.easy.get(), "Link");
            done.validators = validators_of(t.easy.get());
            return done;
        }
        done.failed_in = phase_of(t, code);
        done.failure = failure_of(t, code);
        return done;
    }

    std::vector<Completion> collect() {
        std::vector<Completion> completed;
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
            if (message->msg != CURLMSG_DONE)
                continue;
            CURL* easy = message->easy_handle;
            const CURLcode code = message->data.result;  // the next call invalidates the message
            const auto it = transfers_.find(easy);
            Transfer& transfer = *it->second;
            curl_multi_remove_handle(multi_, easy);
            Completion done = complete(transfer, code);
            if (done.failed_in == Phase::none && redirect(transfer, done))
                continue;
            if (done.failed_in == Phase::none)
                done.body = std::move(transfer.body);
            completed.push_back(std::move(done));
            keep_handle(std::move(transfer.easy));
            transfers_.erase(it);
        }
        return completed;
    }

    // Handles are reused, because creating one costs more than resetting one.
    Easy take_handle() {
        if (!idle_.empty()) {
            Easy easy = std::move(idle_.back());
            idle_.pop_back();
            return easy;
        }
        Easy easy(curl_easy_init(), curl_easy_cleanup);
        if (easy == nullptr)
            throw std::bad_alloc();
        return easy;
    }

    void keep_handle(Easy easy) {
        if (idle_.size() >= most_idle)
            return;
        curl_easy_reset(easy.get());  // also clears the credentials
        idle_.push_back(std::move(easy));
    }

    void release() {
        if (multi_ != nullptr)
            curl_multi_cleanup(multi_);
        if (epoll_ >= 0)
            close(epoll_);
        for (; reserved_ > 0; --reserved_)
            unreserve();
    }

    Descriptors* descriptors_;
    int reserved_ = 0;  // own_descriptors after construction
    CURLM* multi_ = nullptr;
    int epoll_ = -1;
    RequestId last_id_ = 0;
    bool timer_set_ = false;
    Clock::time_point timer_;
    std::map<CURL*, std::unique_ptr<Transfer>> transfers_;
    std::vector<Easy> idle_;
    std::vector<std::string> multiplexing_;  // a URL of each origin that has answered with HTTP/2
};

}  // namespace

std::unique_ptr<Transport> make_curl_transport(int most_connections, Descriptors* descriptors) {
    static const CURLcode initialised = [] {
        const QuietSignals quiet;
        return curl_global_init(CURL_GLOBAL_DEFAULT);
    }();
    if (initialised != CURLE_OK)
        throw std::runtime_error("could not initialise the HTTP library");
    return std::make_unique<CurlTransport>(most_connections, descriptors);
}

}  // namespace rolecall::http
