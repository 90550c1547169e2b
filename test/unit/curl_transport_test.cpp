#include "http/curl_transport.h"

#include <gtest/gtest.h>

#include "unit/http_server.h"

namespace rolecall::http {
namespace {

TEST(CurlTransport, BringsStatusAndBody) {
    const Server server([](const std::string& head) {
        return head.starts_with("GET /missing ")
                   ? "HTTP/1.1 404 Not Found\r\nRetry-After: 120\r\nContent-Length: 4\r\n\r\ngone"
                   : ok("hello");
    });
    const auto transport = make_curl_transport();
    const Completion found = get(*transport, request_for(server.url("/a")));
    EXPECT_EQ(found.failed_in, Phase::none);
    EXPECT_EQ(found.status, 200);
    EXPECT_EQ(found.body, "hello");
    const Completion missing = get(*transport, request_for(server.url("/missing")));
    EXPECT_EQ(missing.status, 404);
    EXPECT_EQ(missing.retry_after, std::chrono::seconds(120));
    EXPECT_EQ(found.retry_after, std::chrono::seconds(0));
    EXPECT_EQ(transport->in_flight(), 0U);
}

TEST(CurlTransport, SendsHeadersAndCredentialsAndReusesConnections) {
    std::mutex mutex;
    std::vector<std::string> heads;
    const Server server([&](const std::string& head) {
        const std::lock_guard guard(mutex);
        heads.push_back(head);
        return ok("");
    });
    const auto transport = make_curl_transport();
    Request request = request_for(server.url("/"));
    request.headers = {"X-Tenant: seven"};
    request.credentials = {.scheme = Credentials::Scheme::bearer, .username = "", .secret = "the-token"};
    get(*transport, request);
    request.credentials = {.scheme = Credentials::Scheme::basic, .username = "u", .secret = "p"};
    get(*transport, request);
    EXPECT_EQ(server.connections(), 1);
    ASSERT_EQ(heads.size(), 2U);
    EXPECT_NE(heads[0].find("Authorization: Bearer the-token"), std::string::npos);
    EXPECT_NE(heads[0].find("X-Tenant: seven"), std::string::npos);
    EXPECT_NE(heads[1].find("Authorization: Basic dTpw"), std::string::npos);
}

TEST(CurlTransport, ManyAtOnceCompleteByTheirIds) {
    const Server server([](const std::string& head) { return ok(head.substr(5, head.find(' ', 5) - 5)); });
    const auto transport = make_curl_transport();
    std::vector<std::string> expected(51);
    for (int i = 0; i < 50; ++i) {
        const std::string name = "n" + std::to_string(i);
        expected[transport->start(request_for(server.url("/" + name)))] = name;
    }
    EXPECT_EQ(transport->in_flight(), 50U);
    for (const Completion& completion : drive(*transport, 50))
        EXPECT_EQ(completion.body, expected[completion.id]);
}

TEST(CurlTransport, BoundsTheBody) {
    const Server server([](const std::string&) { return ok(std::string(100'000, 'x')); });
    const auto transport = make_curl_transport();
    Request request = request_for(server.url("/"));
    request.max_response_bytes = 1000;
    const Completion completion = get(*transport, request);
    EXPECT_EQ(completion.failed_in, Phase::body);
    EXPECT_EQ(completion.failure, "the response is larger than 1000 bytes");
    request.max_response_bytes = 101'000;
    const Completion all = get(*transport, request);
    EXPECT_EQ(all.body.size(), 100'000U);
    EXPECT_EQ(all.received, ok(all.body).size());
}

TEST(CurlTransport, SaysInWhichPhaseItFailed) {
    const auto transport = make_curl_transport();
    EXPECT_EQ(get(*transport, request_for("http://127.0.0.1:1/")).failed_in, Phase::connect);
    EXPECT_EQ(get(*transport, request_for("http://nowhere.invalid/")).failed_in, Phase::name_lookup);

    const Server closes([](const std::string&) { return std::string(); });
    EXPECT_EQ(get(*transport, request_for(closes.url("/"))).failed_in, Phase::first_byte);

    const Server truncates([](const std::string&) {
        return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf";
    });
    Request request = request_for(truncates.url("/"));
    request.timeout = milliseconds(300);  // the rest never comes
    const Completion half = get(*transport, request);
    EXPECT_EQ(half.failed_in, Phase::body);

    const Server plain([](const std::string&) { return ok("not TLS"); });
    std::string url = plain.url("/");
    url.replace(0, 4, "https");
    request = request_for(url);
    request.timeout = milliseconds(300);
    EXPECT_EQ(get(*transport, request).failed_in, Phase::tls);
}

TEST(CurlTransport, FollowsRedirectsToTheSameOriginOnly) {
    const Server elsewhere([](const std::string&) { return ok("stolen"); });
    const Server server([&](const std::string& head) -> std::string {
        const auto to = [](const std::string& location) {
            return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + "\r\n\r\n";
        };
        if (head.starts_with("GET /near "))
            return to("/there");
        if (head.starts_with("GET /far "))
            return to(elsewhere.url("/"));
        if (head.starts_with("GET /loop "))
            return to("/loop");
        if (head.starts_with("GET /file "))
            return to("file:///etc/passwd");
        return ok("arrived");
    });
    const auto transport = make_curl_transport();
    EXPECT_EQ(get(*transport, request_for(server.url("/near"))).body, "arrived");
    EXPECT_EQ(get(*transport, request_for(server.url("/far"))).failure, "redirect to another host refused");
    EXPECT_EQ(get(*transport, request_for(server.url("/file"))).failure, "redirect to another host refused");
    EXPECT_EQ(get(*transport, request_for(server.url("/loop"))).failure, "too many redirects");
    EXPECT_EQ(elsewhere.connections(), 0);
}

TEST(CurlTransport, TakesHttpOnly) {
    const auto transport = make_curl_transport();
    const Completion completion = get(*transport, request_for("file:///etc/passwd"));
    EXPECT_NE(completion.failed_in, Phase::none);
    EXPECT_EQ(completion.body, "");
}

TEST(CurlTransport, CancelledRequestsDoNotComplete) {
    std::atomic<bool> asked{false};
    std::atomic<bool> leave{false};
    const Server server([&](const std::string& head) -> std::string {
        if (head.starts_with("GET /hang ")) {
            asked = true;
            while (!leave)
                std::this_thread::yield();
            return {};
        }
        return ok("quick");
    });
    const auto transport = make_curl_transport();
    const RequestId hanging = transport->start(request_for(server.url("/hang")));
    while (!asked) {
        pollfd waiting{.fd = transport->fd(), .events = POLLIN, .revents = 0};
        poll(&waiting, 1, 10);
        EXPECT_TRUE(transport->advance().empty());
    }
    transport->cancel(hanging);
    EXPECT_EQ(transport->in_flight(), 0U);
    EXPECT_EQ(get(*transport, request_for(server.url("/"))).body, "quick");
    leave = true;
}

TEST(CurlTransport, IsDestroyedWithRequestsInFlight) {
    const Server server([](const std::string&) { return std::string(); });
    const auto transport = make_curl_transport();
    for (int i = 0; i < 5; ++i)
        transport->start(request_for(server.url("/")));
}

TEST(CurlTransport, AsksForAnotherVersionOnly) {
    std::mutex mutex;
    std::vector<std::string> heads;
    const Server server([&](const std::string& head) {
        const std::lock_guard guard(mutex);
        heads.push_back(head);
        return head.find("If-None-Match: \"v1\"") != std::string::npos
                   ? "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n"
                   : "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nLast-Modified: Sat, 01 Jan 2022 10:00:00 GMT\r\n"
                     "Date: Sat, 01 Jan 2022 10:01:00 GMT\r\nContent-Length: 2\r\n\r\n{}";
    });
    const auto transport = make_curl_transport();
    Request request = request_for(server.url("/"));
    const Completion first = get(*transport, request);
    EXPECT_EQ(first.validators.etag, "\"v1\"");
    EXPECT_EQ(first.validators.last_modified, "Sat, 01 Jan 2022 10:00:00 GMT");
    EXPECT_EQ(heads[0].find("If-"), std::string::npos);
    request.validators = first.validators;
    const Completion second = get(*transport, request);
    EXPECT_EQ(second.status, not_modified);
    EXPECT_EQ(second.failed_in, Phase::none);
    EXPECT_NE(heads[1].find("If-Modified-Since: Sat, 01 Jan 2022 10:00:00 GMT"), std::string::npos);
}

// Two changes within a second have the same Last-Modified.
TEST(CurlTransport, KeepsNoVersionThatDoesNotTellChangesApart) {
    const Server server([](const std::string& head) {
        const std::string date =
            head.starts_with("GET /none ") ? "" : "Date: Sat, 01 Jan 2022 10:00:59 GMT\r\n";
        const std::string etag = std::string("ETag: \"") +
                                 (head.starts_with("GET /long ") ? std::string(300, 'x') : "\xe9") + "\"\r\n";
        return "HTTP/1.1 200 OK\r\nLast-Modified: Sat, 01 Jan 2022 10:00:00 GMT\r\n" + date + etag +
               "Content-Length: 0\r\n\r\n";
    });
    const auto transport = make_curl_transport();
    for (const char* path : {"/recent", "/none", "/long"})
        EXPECT_TRUE(get(*transport, request_for(server.url(path))).validators.empty()) << path;
}

TEST(CurlTransport, JoinsLinksAndUsesThoseOfTheLastAnswer) {
    const Server server([](const std::string& head) {
        return head.starts_with("GET /moved ") ? "HTTP/1.1 302 Found\r\nLocation: /here\r\nLink: </wrong>; "
                                                 "rel=next\r\nContent-Length: 0\r\n\r\n"
                                               : "HTTP/1.1 200 OK\r\nLink: </a>; rel=prev\r\nLink: </b>; "
                                                 "rel=next\r\nContent-Length: 0\r\n\r\n";
    });
    const auto transport = make_curl_transport();
    EXPECT_EQ(get(*transport, request_for(server.url("/moved"))).link, "</a>; rel=prev, </b>; rel=next");
}

TEST(CurlTransport, TakesNoProxyFromTheEnvironmentUnlessAsked) {
    std::mutex mutex;
    std::string head_seen;
    const Server proxy([&](const std::string& head) {
        const std::lock_guard guard(mutex);
        head_seen = head;
        return ok("by proxy");
    });
    const Server server([](const std::string&) { return ok("direct"); });
    setenv("http_proxy", proxy.url("").c_str(), 1);
    unsetenv("no_proxy");
    const auto transport = make_curl_transport();
    Request request = request_for(server.url("/a"));
    EXPECT_EQ(get(*transport, request).body, "direct");
    request.proxy = std::nullopt;
    EXPECT_EQ(get(*transport, request).body, "by proxy");
    EXPECT_EQ(head_seen.find("GET " + server.url("/a") + " "), 0U);
    unsetenv("http_proxy");
    EXPECT_EQ(get(*transport, request).body, "direct");
    request.proxy = proxy.url("");
    EXPECT_EQ(get(*transport, request).body, "by proxy");
}

// Whoever listens and never accepts: the connection is made, TLS is not.
TEST(CurlTransport, ConnectingHasATimeoutOfItsOwn) {
    std::uint16_t port = 0;
    const int listener = listen_on_loopback(1, port);
    Request request = request_for("https://127.0.0.1:" + std::to_string(port) + "/");
    request.timeout = milliseconds(60'000);
    request.connect_timeout = milliseconds(200);
    const auto transport = make_curl_transport();
    const auto started = std::chrono::steady_clock::now();
    const Completion completion = get(*transport, request);
    EXPECT_EQ(completion.failed_in, Phase::tls);
    EXPECT_EQ(completion.failure, "timed out");
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(30));
    close(listener);
}

}  // namespace
}  // namespace rolecall::http
