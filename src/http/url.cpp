#include "http/url.h"

#include <curl/curl.h>

#include <memory>

#include "core/error.h"

namespace rolecall::http {

namespace {

constexpr std::string_view placeholder = "{subject}";

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

Url parse(const std::string& text) {
    Url url(curl_url(), curl_url_cleanup);
    if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
        return {nullptr, curl_url_cleanup};
    return url;
}

std::string part(const Url& url, CURLUPart which, unsigned flags = 0) {
    char* text = nullptr;
    if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK)
        return {};
    const std::unique_ptr<char, decltype(&curl_free)> owner(text, curl_free);
    return text;
}

// The message does not contain the value, because it may hold a secret.
[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
    throw Error("22023", what, {}, hint);
}

std::string encode(const std::string& subject) {
    constexpr std::string_view unreserved =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    constexpr char digits[] = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : subject) {
        const auto byte = static_cast<unsigned char>(c);
        if (unreserved.find(c) != std::string_view::npos) {
            encoded += c;
        } else {
            encoded += '%';
            encoded += digits[byte >> 4];
            encoded += digits[byte & 15];
        }
    }
    return encoded;
}

}  // namespace

std::string check_base_url(const std::string& text) {
    const Url url = parse(text);
    if (url == nullptr)
        refuse("invalid base URL", "Use an absolute URL such as https://hr.example.org/api.");
    const std::string scheme = part(url, CURLUPART_SCHEME);
    if (scheme != "http" && scheme != "https")
        refuse("unsupported scheme in base URL", "Use http or https.");
    if (!part(url, CURLUPART_USER).empty() || !part(url, CURLUPART_PASSWORD).empty())
        refuse("a base URL cannot hold credentials", "Put them into the user mapping of the server's owner.");
    if (!part(url, CURLUPART_QUERY).empty() || !part(url, CURLUPART_FRAGMENT).empty())
        refuse("a base URL cannot have a query or a fragment", "Put a query into request_path.");
    std::string base = text;
    while (base.ends_with('/'))
        base.pop_back();
    return base;
}

void check_request_path(const std::string& path) {
    if (!path.starts_with('/'))
        refuse("a request path must start with a slash", "For example /users/{subject}.");
    if (path.find(placeholder) == std::string::npos)
        refuse("a request path must name the subject", "For example /users/{subject}.");
    for (const char c : path)
        if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7f)
            refuse("a request path must be printable ASCII without spaces",
                   "Percent-encode other characters.");
}

std::string request_url(std::string_view base, std::string_view path, const std::string& subject) {
    if (subject.empty() || subject == "." || subject == "..")
        refuse("subject \"" + subject + "\" cannot be part of a URL", "Correct the user's institutional_id.");
    const std::string encoded = encode(subject);
    std::string url(base);
    while (!path.empty()) {
        const std::size_t at = path.find(placeholder);
        url += path.substr(0, at);
        if (at == std::string_view::npos)
            break;
        url += encoded;
        path.remove_prefix(at + placeholder.size());
    }
    return url;
}

std::string with_parameter(const std::string& url, const std::string& name, const std::string& value) {
    return url + (url.find('?') == std::string::npos ? '?' : '&') + name + '=' + encode(value);
}

std::optional<std::string> resolve_url(const std::string& base, const std::string& reference) {
    const Url url = parse(base);
    if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, reference.c_str(), 0) != CURLUE_OK)
        return std::nullopt;
    return part(url, CURLUPART_URL);
}

bool same_origin(const std::string& a, const std::string& b) {
    const Url first = parse(a);
    const Url second = parse(b);
    if (first == nullptr || second == nullptr)
        return false;
    for (const auto& [which, flags] : {std::pair{CURLUPART_SCHEME, 0U}, std::pair{CURLUPART_HOST, 0U},
                                       std::pair{CURLUPART_PORT, unsigned{CURLU_DEFAULT_PORT}}})
        if (part(first, which, flags) != part(second, which, flags))
            return false;
    return true;
}

}  // namespace rolecall::http
