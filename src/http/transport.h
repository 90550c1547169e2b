// Sends requests to a provider. This is an interface, so that its users can be tested with a scripted fake
// (http/scripted_transport.h); the real implementation is http/curl_transport.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rolecall::http {

/// The credentials sent to a provider. They must not appear in errors or logs.
struct Credentials {
    enum class Scheme { none, basic, bearer } scheme = Scheme::none;
    std::string username;
    std::string secret;  ///< the password or the token
};

/// Identifies the version of an answer. A request with validators asks for the answer only if it has changed.
struct Validators {
    std::string etag;
    std::string last_modified;  ///< empty if it cannot tell versions apart (CurlTransport)

    bool empty() const { return etag.empty() && last_modified.empty(); }
};

struct Request {
    std::string url;
    std::vector<std::string> headers;  ///< "Name: value"
    Credentials credentials;
    std::string ca_file;                    ///< PEM; empty: the system's certificates
    std::optional<std::string> proxy = "";  ///< empty: none; nullopt: from the environment
    std::chrono::milliseconds timeout{10'000};
    std::chrono::milliseconds connect_timeout{10'000};  ///< the part for name lookup, connect and TLS
    Validators validators;                              ///< if not empty, status 304 is a valid answer
    std::size_t max_response_bytes = 1 << 20;           ///< of all received bytes, redirects included
};

/// How far a request had come when it failed.
enum class Phase { none, name_lookup, connect, tls, first_byte, body };

const char* to_string(Phase phase);

using RequestId = std::uint64_t;

/// The HTTP status of an answer that has not changed.
constexpr int not_modified = 304;

/// The result of a request: a status and a body, or a failure and its phase.
struct Completion {
    RequestId id = 0;
    int status = 0;  ///< HTTP status; 0: none was received
    std::string body;
    std::size_t received = 0;  ///< bytes of headers, bodies and framing, redirects included
    std::string link;          ///< the Link headers, joined by commas
    Validators validators;
    std::chrono::seconds retry_after{0};  ///< the time to wait according to Retry-After
    Phase failed_in = Phase::none;        ///< none: an answer arrived, with any status
    std::string failure;                  ///< lower case, without a period, without secrets
};

/// Counts the file descriptors that a transport opens, on behalf of the process's owner. The functions must
/// not throw: libcurl's callbacks call them.
class Descriptors {
 public:
    virtual ~Descriptors() = default;
    virtual bool reserve() = 0;  ///< returns false if too many are open
    virtual void release() = 0;
};

/// Runs many requests at once. One thread drives it, and does the waiting itself:
///
///     wait until fd() is readable or timeout() has passed; then call advance() and use its completions.
class Transport {
 public:
    virtual ~Transport() = default;

    /// Starts a request and returns its id. Ids count up from 1.
    virtual RequestId start(const Request& request) = 0;

    /// Cancels a request. advance() will not return it.
    virtual void cancel(RequestId id) = 0;

    /// Processes what can be processed without waiting, and returns the requests completed since the last
    /// call.
    virtual std::vector<Completion> advance() = 0;

    /// Returns a descriptor that is readable when advance() has something to do. The transport owns it.
    virtual int fd() const = 0;

    /// Returns the longest time to wait before the next advance(), even if fd() is not readable.
    virtual std::chrono::milliseconds timeout() const = 0;

    virtual std::size_t in_flight() const = 0;
};

}  // namespace rolecall::http
