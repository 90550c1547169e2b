// One request of curl_transport.cpp on its way: its handle of libcurl, what has arrived, and when that is too
// much.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <memory>
#include <new>

#include "core/error.h"
#include "http/transport.h"

namespace rolecall::http {

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

/// Why an answer was given up.
enum class Refusal { none, too_large, too_many_headers, encoded };

using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

struct Transfer {
    RequestId id = 0;
    std::size_t limit = 0;
    std::size_t received = 0;  // before anything is taken out of it
    int header_lines = 0;
    Refusal refusal = Refusal::none;
    int redirects = 0;
    std::chrono::steady_clock::time_point deadline;
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

/// Has the transfer's handle tell it what arrives.
void receive_into(Transfer& transfer);

/// Is what arrived within the limits? False: `refusal` says why not.
bool within_limit(Transfer& transfer);

/// The header of the last answer, its lines joined by commas.
std::string header_of(CURL* easy, const char* name);

/// What can be sent back to be told whether there is another version.
Validators validators_of(CURL* easy);

/// In which phase a transfer failed with `code`.
Phase phase_of(const Transfer& transfer, CURLcode code);

/// Why it failed.
std::string failure_of(const Transfer& transfer, CURLcode code);

}  // namespace rolecall::http
