#include "http/curl_transfer.h"

#include <algorithm>
#include <ctime>

namespace rolecall::http {

namespace {

constexpr int most_header_lines = 1000;    // of a request; redirects, trailers and 1xx responses included
constexpr std::time_t settled_after = 60;  // seconds

// A callback of libcurl. An exception must not pass through libcurl.
std::size_t on_body(char* data, std::size_t, std::size_t bytes, void* argument) {
    auto* transfer = static_cast<Transfer*>(argument);
    if (!within_limit(*transfer))
        return 0;
    try {
        transfer->body.append(data, bytes);
    } catch (...) {
        return 0;
    }
    return bytes;
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view spaces = " \t\r\n";
    const std::size_t first = text.find_first_not_of(spaces);
    return first == std::string_view::npos ? std::string_view()
                                           : text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

// Returns false if a header line announces an encoded body. A few compressed bytes can take very long to
// decompress, so requests ask for no compression and compressed responses are rejected. libcurl would decode
// a transfer encoding without being asked. A content encoding is accepted if the status is not 2xx, because
// such a body is not used.
bool is_plain(const Transfer& transfer, std::string_view header) {
    const std::size_t colon = header.find(':');
    if (colon == std::string_view::npos)
        return true;
    const std::string_view name = header.substr(0, colon);
    const std::string_view value = trim(header.substr(colon + 1));
    if (equal_ignoring_case(name, "Transfer-Encoding"))
        return equal_ignoring_case(value, "chunked") || equal_ignoring_case(value, "identity");
    if (!equal_ignoring_case(name, "Content-Encoding") || value.empty() ||
        equal_ignoring_case(value, "identity"))
        return true;
    long status = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
    return status < 200 || status >= 300;
}

// Called for each header line, status line and trailer line, including those of 1xx responses.
std::size_t on_header(char* data, std::size_t, std::size_t bytes, void* argument) {
    auto* transfer = static_cast<Transfer*>(argument);
    if (!within_limit(*transfer))
        return 0;
    if (++transfer->header_lines > most_header_lines)
        transfer->refusal = Refusal::too_many_headers;
    else if (!is_plain(*transfer, {data, bytes}))
        transfer->refusal = Refusal::encoded;
    return transfer->refusal == Refusal::none ? bytes : 0;
}

// Counts all received bytes, including chunk sizes and chunk extensions, before libcurl interprets them.
int on_bytes(CURL*, curl_infotype kind, char*, std::size_t bytes, void* argument) {
    if (kind == CURLINFO_HEADER_IN || kind == CURLINFO_DATA_IN)
        static_cast<Transfer*>(argument)->received += bytes;
    return 0;
}

// Called after each received piece, because not all received data reaches on_body() or on_header().
int on_progress(void* argument, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return within_limit(*static_cast<Transfer*>(argument)) ? 0 : 1;
}

// Returns an empty string unless the value is short printable ASCII, because validators are stored as text in
// the database's encoding. Without validators, every request asks for the whole answer.
std::string storable(std::string value) {
    const bool plain = value.size() <= 256 &&
                       std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c < 0x7f; });
    return plain ? std::move(value) : std::string();
}

// Last-Modified has a resolution of one second. It distinguishes versions only if it is sufficiently older
// than the Date of the same response, which is by the same clock (RFC 9110, 8.8.2.2).
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

std::string lower_first(std::string text) {
    // Only a word is lowered, not an abbreviation such as "SSL".
    if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z')
        text[0] = static_cast<char>(text[0] - 'A' + 'a');
    while (text.ends_with('.'))
        text.pop_back();
    return text;
}

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

void receive_into(Transfer& t) {
    t.set(CURLOPT_WRITEFUNCTION, on_body);
    t.set(CURLOPT_WRITEDATA, static_cast<void*>(&t));
    t.set(CURLOPT_HEADERFUNCTION, on_header);
    t.set(CURLOPT_HEADERDATA, static_cast<void*>(&t));
    t.set(CURLOPT_VERBOSE, 1L);  // for on_bytes(); nothing is printed
    t.set(CURLOPT_DEBUGFUNCTION, on_bytes);
    t.set(CURLOPT_DEBUGDATA, static_cast<void*>(&t));
    t.set(CURLOPT_NOPROGRESS, 0L);
    t.set(CURLOPT_XFERINFOFUNCTION, on_progress);
    t.set(CURLOPT_XFERINFODATA, static_cast<void*>(&t));
}

bool within_limit(Transfer& transfer) {
    if (transfer.received > transfer.limit && transfer.refusal == Refusal::none)
        transfer.refusal = Refusal::too_large;
    return transfer.refusal == Refusal::none;
}

std::string header_of(CURL* easy, const char* name) {
    std::string value;
    curl_header* header = nullptr;
    for (std::size_t i = 0; curl_easy_header(easy, name, i, CURLH_HEADER, -1, &header) == CURLHE_OK; ++i)
        value += (i > 0 ? ", " : "") + std::string(header->value);
    return value;
}

Validators validators_of(CURL* easy) {
    return {.etag = storable(header_of(easy, "ETag")),
            .last_modified = storable(settled_last_modified(easy))};
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
    if (transfer.any(CURLINFO_HEADER_SIZE) || transfer.refusal != Refusal::none)
        return Phase::body;
    // Later versions of libcurl report a pretransfer time even if there is no connection yet.
    if (!transfer.any(CURLINFO_LOCAL_PORT))
        return transfer.reached(CURLINFO_NAMELOOKUP_TIME) ? Phase::connect : Phase::name_lookup;
    // There is a connection. The connect time includes TLS.
    return transfer.reached(CURLINFO_PRETRANSFER_TIME) ? Phase::first_byte : Phase::tls;
}

std::string failure_of(const Transfer& transfer, CURLcode code) {
    switch (transfer.refusal) {
        case Refusal::none:
            break;
        case Refusal::too_large:
            return "the response is larger than " + std::to_string(transfer.limit) + " bytes";
        case Refusal::too_many_headers:
            return "the response has more than " + std::to_string(most_header_lines) + " header lines";
        case Refusal::encoded:
            return "the response is encoded, which was not asked for";
    }
    if (code == CURLE_OPERATION_TIMEDOUT)
        return "timed out";
    return lower_first(transfer.message[0] != '\0' ? transfer.message : curl_easy_strerror(code));
}

}  // namespace rolecall::http
