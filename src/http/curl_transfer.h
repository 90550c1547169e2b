// A request of curl_transport.cpp that is under way: its libcurl handle, the data received, and the limits on
// that data.
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

/// Why a response was rejected.
enum class Refusal { none, too_large, too_many_headers, encoded };

using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

struct Transfer {
    RequestId id = 0;
    std::size_t limit = 0;
    std::size_t received = 0;  // bytes as they came from the network, before any decoding
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

/// Makes the libcurl handle deliver received data to the transfer.
void receive_into(Transfer& transfer);

/// Returns whether the response is within its limits so far. If not, `refusal` says why.
bool within_limit(Transfer& transfer);

/// Returns a header of the last response. If it occurs several times, the values are joined by commas.
std::string header_of(CURL* easy, const char* name);

/// Returns the response's validators, for a later conditional request.
Validators validators_of(CURL* easy);

/// Returns the phase in which a transfer failed with `code`.
Phase phase_of(const Transfer& transfer, CURLcode code);

/// Returns why a transfer failed with `code`, in the form of Completion::failure.
std::string failure_of(const Transfer& transfer, CURLcode code);

}  // namespace rolecall::http
