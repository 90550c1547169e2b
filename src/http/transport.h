// How requests reach a provider. An interface, so that whoever fetches can be tested with a scripted fake;
// the real one is http/curl_transport.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rolecall::http {

/// Who we are to a provider. Never shown: not in errors, not in logs.
struct Credentials {
    enum class Scheme { none, basic, bearer } scheme = Scheme::none;
    std::string username;
    std::string secret;  ///< the password, or the token
};

/// Which version of an answer a provider sent; sent back, it asks for another one only.
struct Validators {
    std::string etag;
    std::string last_modified;  ///< only one that tells changes apart (CurlTransport)

    bool empty() const { return etag.empty() && last_modified.empty(); }
};

struct Request {
    std::string url;
    std::vector<std::string> headers;  ///< "Name: value"
    Credentials credentials;
    std::string ca_file;                    ///< PEM; empty: the system's
    std::optional<std::string> proxy = "";  ///< empty: none; nullopt: what the environment says
    std::chrono::milliseconds timeout{10'000};
    std::chrono::milliseconds connect_timeout{10'000};  ///< of that: name lookup, connect and TLS
    Validators validators;                              ///< not empty: status 304 is as good as an answer
    std::size_t max_response_bytes = 1 << 20;           ///< all that is received, redirects included
};

/// How far a request had come when it failed.
enum class Phase { none, name_lookup, connect, tls, first_byte, body };

const char* to_string(Phase phase);

using RequestId = std::uint64_t;

/// The status of an answer that is as it was.
constexpr int not_modified = 304;

/// What became of a request: a status and a body, or a failure that says in which phase.
struct Completion {
    RequestId id = 0;
    int status = 0;  ///< HTTP status; 0: none was received
    std::string body;
    std::size_t received = 0;  ///< bytes of headers, bodies and what frames them, redirects included
    std::string link;          ///< the headers Link, joined by commas
    Validators validators;
    std::chrono::seconds retry_after{0};  ///< what the provider asks for by Retry-After
    Phase failed_in = Phase::none;        ///< none: an answer arrived, whatever its status
    std::string failure;                  ///< lower case, without a period, without secrets
};

/// Descriptors that a transport opens, as whoever owns the process counts them. Called between any two
/// instructions of a transport, so that it must not throw.
class Descriptors {
 public:
    virtual ~Descriptors() = default;
    virtual bool reserve() = 0;  ///< false: there are too many
    virtual void release() = 0;
};

/// Many requests under way at once, driven by one thread that waits elsewhere:
///
///     wait until fd() is readable or timeout() has passed; then advance() and look at what completed.
class Transport {
 public:
    virtual ~Transport() = default;

    /// Takes a request on its way. Ids count up from 1.
    virtual RequestId start(const Request& request) = 0;

    /// Gives a request up; it will not complete.
    virtual void cancel(RequestId id) = 0;

    /// Does what can be done without waiting, and returns what completed since.
    virtual std::vector<Completion> advance() = 0;

    /// Readable when advance() has something to do.
    virtual int fd() const = 0;

    /// The longest time to wait before advance(), whatever fd() says.
    virtual std::chrono::milliseconds timeout() const = 0;

    virtual std::size_t in_flight() const = 0;
};

}  // namespace rolecall::http
