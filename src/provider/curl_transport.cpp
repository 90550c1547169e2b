#include "provider/curl_transport.h"

#include <curl/curl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): pthread_sigmask is POSIX
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "provider/retry_after.h"
#include "provider/url.h"

namespace rolecall::provider {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int most_redirects = 3;
constexpr milliseconds no_timer{60'000};
constexpr int events_at_once = 64;
constexpr std::size_t most_idle = 64;      // handles
constexpr std::time_t settled_after = 60;  // seconds

// Blocks every signal while libcurl runs: a thread inherits the mask of the one that starts it.
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

struct Headers {
    curl_slist* list = nullptr;
    Headers() = default;
    ~Headers() { curl_slist_free_all(list); }
    Headers(const Headers&) = delete;
    Headers& operator=(const Headers&) = delete;
    void add(const std::string& line) {
        curl_slist* longer = curl_slist_append(list, line.c_str());
        if (longer == nullptr)
            throw std::bad_alloc();
        list = longer;
    }
};

using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

struct Transfer {
    RequestId id = 0;
    std::size_t limit = 0;
    bool too_large = false;
    int redirects = 0;
    std::string url;
    std::string body;
    Headers headers;
    char message[CURL_ERROR_SIZE] = "";
    Easy easy;

    explicit Transfer(Easy handle) : easy(std::move(handle)) {}

    template <typename T>
    void set(CURLoption option, T value) {
        if (curl_easy_setopt(easy.get(), option, value) != CURLE_OK)
            throw Error("22023", "the HTTP library refused a setting");
    }
    bool reached(CURLINFO time) const {
        double seconds = 0;
        curl_easy_getinfo(easy.get(), time, &seconds);
        return seconds > 0;
    }
    bool any(CURLINFO number) const {
        long value = 0;
        curl_easy_getinfo(easy.get(), number, &value);
        return value > 0;
    }
};

// The header of the last answer, its lines joined by commas.
std::string header_of(CURL* easy, const char* name) {
    std::string value;
    curl_header* header = nullptr;
    for (std::size_t i = 0; curl_easy_header(easy, name, i, CURLH_HEADER, -1, &header) == CURLHE_OK; ++i)
        value += (i > 0 ? ", " : "") + std::string(header->value);
    return value;
}

// It will be kept as text in some encoding; whoever sends more than that is asked for everything each time.
std::string storable(std::string value) {
    const bool plain = value.size() <= 256 &&
                       std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c < 0x7f; });
    return plain ? std::move(value) : std::string();
}

// A Last-Modified counts in seconds: it tells versions apart only if it was a while ago (RFC 9110, 8.8.2.2),
// by the clock of who sent it.
std::string settled_last_modified(CURL* easy) {
    std::string last_modified = header_of(easy, "Last-Modified");
    if (last_modified.empty())
        return {};
    const std::time_t changed = curl_getdate(last_modified.c_str(), nullptr);
    const std::time_t sent = curl_getdate(header_of(easy, "Date").c_str(), nullptr);
    if (changed < 0 || sent < 0 || sent - changed < settled_after)
        return {};
    return last_modified;
}

std::size_t on_body(char* data, std::size_t, std::size_t bytes, void* argument) {
    auto* transfer = static_cast<Transfer*>(argument);
    if (transfer->body.size() + bytes > transfer->limit) {
        transfer->too_large = true;
        return 0;
    }
    try {
        transfer->body.append(data, bytes);
    } catch (...) {
        return 0;  // an exception must not pass through libcurl
    }
    return bytes;
}

Phase phase_of(const Transfer& transfer, CURLcode code) {
    switch (code) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
            return Phase::name_lookup;
        case CURLE_COULDNT_CONNECT:
            return Phase::connect;
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
            return Phase::tls;
        default:
            break;
    }
    if (transfer.any(CURLINFO_HEADER_SIZE))
        return Phase::body;
    if (transfer.reached(CURLINFO_PRETRANSFER_TIME))
        return Phase::first_byte;
    if (transfer.any(CURLINFO_LOCAL_PORT))  // connected; the connect time counts TLS in
        return Phase::tls;
    if (transfer.reached(CURLINFO_NAMELOOKUP_TIME))
        return Phase::connect;
    return Phase::name_lookup;
}

std::string lower_first(std::string text) {
    // Only a word, not an abbreviation such as "SSL".
    if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z')
        text[0] = static_cast<char>(text[0] - 'A' + 'a');
    while (text.ends_with('.'))
        text.pop_back();
    return text;
}

class CurlTransport final : public Transport {
 public:
    CurlTransport() : multi_(curl_multi_init()), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        if (multi_ == nullptr || epoll_ < 0) {
            release();
            throw std::runtime_error("could not set up the HTTP client");
        }
        curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
        curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
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
        auto transfer = std::make_unique<Transfer>(take_handle());
        transfer->id = ++last_id_;
        transfer->limit = request.max_response_bytes;
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
        // A socket that was closed has left by itself, and its number may come again.
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

    void configure(Transfer& t, const Request& request) const {
        t.set(CURLOPT_PRIVATE, static_cast<void*>(&t));
        t.set(CURLOPT_URL, request.url.c_str());
        t.set(CURLOPT_NOSIGNAL, 1L);
        t.set(CURLOPT_ERRORBUFFER, t.message);
        t.set(CURLOPT_WRITEFUNCTION, on_body);
        t.set(CURLOPT_WRITEDATA, static_cast<void*>(&t));
        t.set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
        t.set(CURLOPT_CONNECTTIMEOUT_MS,
              static_cast<long>(std::min(request.timeout, request.connect_timeout).count()));
        t.set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
        // Many requests over one connection, where the server is known to take them. To wait for what is not
        // known yet would mean to wait for the first answer, however long that takes.
        t.set(CURLOPT_PIPEWAIT, multiplexes(request.url) ? 1L : 0L);
        t.set(CURLOPT_PROTOCOLS_STR, "http,https");
        t.set(CURLOPT_FOLLOWLOCATION, 0L);  // followed by redirect(), to the same origin only
        t.set(CURLOPT_PATH_AS_IS, 1L);
        if (request.proxy)
            t.set(CURLOPT_PROXY, request.proxy->c_str());  // "": not even one from the environment
        t.set(CURLOPT_ACCEPT_ENCODING, "");
        t.set(CURLOPT_USERAGENT, "rolecall");
        t.set(CURLOPT_SSL_VERIFYPEER, 1L);
        t.set(CURLOPT_SSL_VERIFYHOST, 2L);
        if (!request.ca_file.empty())
            t.set(CURLOPT_CAINFO, request.ca_file.c_str());

        t.headers.add("Accept: application/json");
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

    // Asks again where a redirect of the same origin points. False: `done` says why not.
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
        t.body.clear();
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
        done.retry_after = retry_after(header_of(t.easy.get(), "Retry-After"), std::time(nullptr));
        if (code == CURLE_OK) {
            note_version(t);
            done.link = header_of(t.easy.get(), "Link");
            done.validators = {.etag = storable(header_of(t.easy.get(), "ETag")),
                               .last_modified = storable(settled_last_modified(t.easy.get()))};
            return done;
        }
        done.failed_in = phase_of(t, code);
        if (t.too_large)
            done.failure = "the response is larger than " + std::to_string(t.limit) + " bytes";
        else if (code == CURLE_OPERATION_TIMEDOUT)
            done.failure = "timed out";
        else
            done.failure = lower_first(t.message[0] != '\0' ? t.message : curl_easy_strerror(code));
        return done;
    }

    std::vector<Completion> collect() {
        std::vector<Completion> completed;
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
            if (message->msg != CURLMSG_DONE)
                continue;
            CURL* easy = message->easy_handle;
            const CURLcode code = message->data.result;  // the message dies with the next call
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

    // Making a handle costs more than clearing one.
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
        curl_easy_reset(easy.get());  // credentials and all
        idle_.push_back(std::move(easy));
    }

    void release() {
        if (multi_ != nullptr)
            curl_multi_cleanup(multi_);
        if (epoll_ >= 0)
            close(epoll_);
    }

    CURLM* multi_;
    int epoll_;
    RequestId last_id_ = 0;
    bool timer_set_ = false;
    Clock::time_point timer_;
    std::map<CURL*, std::unique_ptr<Transfer>> transfers_;
    std::vector<Easy> idle_;
    std::vector<std::string> multiplexing_;  // a URL of each origin that has answered with HTTP/2
};

}  // namespace

const char* to_string(Phase phase) {
    switch (phase) {
        case Phase::none:
            break;
        case Phase::name_lookup:
            return "name lookup";
        case Phase::connect:
            return "connect";
        case Phase::tls:
            return "TLS";
        case Phase::first_byte:
            return "first byte";
        case Phase::body:
            return "body";
    }
    return "none";
}

std::unique_ptr<Transport> make_curl_transport() {
    static const CURLcode initialised = [] {
        const QuietSignals quiet;
        return curl_global_init(CURL_GLOBAL_DEFAULT);
    }();
    if (initialised != CURLE_OK)
        throw std::runtime_error("could not initialise the HTTP library");
    return std::make_unique<CurlTransport>();
}

}  // namespace rolecall::provider
