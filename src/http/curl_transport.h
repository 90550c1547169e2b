// Requests over libcurl's multi interface. Connections are kept and reused, TLS certificates are verified,
// and size, time, redirects, connections and protocols are limited. A transport belongs to one process and
// one thread; the first one initialises libcurl. libcurl may start a thread to look a name up. All signals
// are blocked whenever it may do so, so that no signal handler runs in that thread. If the name server does
// not answer, the thread is abandoned and the process does not wait for it (libcurl 7.87 and later).
#pragma once

#include <memory>

#include "http/transport.h"

namespace rolecall::http {

/// Returns a transport with at most `most_connections` open connections, idle ones included. Further requests
/// wait for a connection; the wait counts towards their timeout. `descriptors` must outlive the transport; if
/// it is nullptr, descriptors are not counted. Throws std::runtime_error if libcurl, the kernel or
/// `descriptors` refuses. start() throws Error 22023 if libcurl does not accept a value of the request, and
/// Error 53000 if too many name lookups were abandoned.
std::unique_ptr<Transport> make_curl_transport(int most_connections = 100,
                                               Descriptors* descriptors = nullptr);

}  // namespace rolecall::http
