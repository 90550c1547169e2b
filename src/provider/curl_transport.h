// Requests over libcurl's multi interface: connections are kept and reused, TLS is verified, size, time,
// redirects and protocols are bounded. One object belongs to one process and one thread; libcurl is
// initialised by the first one. libcurl may start a thread to look a name up: all signals are blocked while
// it might, so that no handler ever runs there.
#pragma once

#include <memory>

#include "provider/transport.h"

namespace rolecall::provider {

/// Throws std::runtime_error where libcurl or the kernel refuses. start() throws Error 22023 for what libcurl
/// cannot take.
std::unique_ptr<Transport> make_curl_transport();

}  // namespace rolecall::provider
