// Requests over libcurl's multi interface: connections are kept and reused, TLS is verified, size, time,
// redirects, connections and protocols are bounded. One object belongs to one process and one thread; libcurl
// is initialised by the first one. libcurl may start a thread to look a name up: all signals are blocked
// while it might, so that no handler ever runs there. A thread whose name server does not answer is left
// behind (libcurl 7.87 and later): nobody waits for it.
#pragma once

#include <memory>

#include "http/transport.h"

namespace rolecall::http {

/// `most_connections` are open at once, idle ones included; requests beyond that wait, within their time.
/// `descriptors` outlives the transport; nullptr: nobody counts. Throws std::runtime_error where libcurl, the
/// kernel or `descriptors` refuses. start() throws Error 22023 for what libcurl cannot take, 53000 where too
/// many lookups were left behind.
std::unique_ptr<Transport> make_curl_transport(int most_connections = 100,
                                               Descriptors* descriptors = nullptr);

}  // namespace rolecall::http
