#include <gtest/gtest.h>

#include "http/curl_transport.h"
#include "unit/http_server.h"

namespace rolecall::http {
namespace {

// Whatever arrives counts, whether libcurl keeps it, throws it away or has no end of it.
TEST(CurlTransport, BoundsEveryByteOfAResponse) {
    const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    std::string trailers = "0\r\n", lines, informational;
    for (int i = 0; i < 900; ++i)
        lines += "X-" + std::to_string(i) + ": " + std::string(100, 'x') + "\r\n";
    for (int i = 0; i < 300; ++i)
        informational += "HTTP/1.1 103 Early Hints\r\nLink: </" + std::string(200, 'x') + ">\r\n\r\n";
    const std::map<std::string, std::string> answers{
        {"/trailers", chunked + "2\r\n{}\r\n0\r\n" + lines + "\r\n"},
        {"/extensions", chunked + "2;" + std::string(90'000, 'e') + "\r\n{}\r\n0\r\n\r\n"},
        {"/many-chunks", chunked +
                             [] {
                                 std::string chunks;
                                 for (int i = 0; i < 9000; ++i)
                                     chunks += "1;aaaa\r\n \r\n";
                                 return chunks;
                             }() +
                             "0\r\n\r\n"},
        {"/headers", "HTTP/1.1 200 OK\r\n" + lines + "Content-Length: 2\r\n\r\n{}"},
        {"/informational", informational + ok("{}")}};
    const Server server(
        [&](const std::string& head) { return answers.at(head.substr(4, head.find(' ', 4) - 4)); });
    const auto transport = make_curl_transport();
    for (const auto& entry : answers) {
        Request request = request_for(server.url(entry.first));
        request.max_response_bytes = 20'000;
        EXPECT_EQ(get(*transport, request).failure, "the response is larger than 20000 bytes") << entry.first;
        request.max_response_bytes = 200'000;
        const Completion whole = get(*transport, request);
        EXPECT_EQ(whole.failure, "") << entry.first;
        EXPECT_GE(whole.received + 1000, entry.second.size()) << entry.first;  // but for empty lines
    }
}

TEST(CurlTransport, BoundsHeadersByTheirNumber) {
    const Server server([&](const std::string&) {
        std::string lines;
        for (int i = 0; i < 1200; ++i)
            lines += "a:\r\n";
        return "HTTP/1.1 200 OK\r\n" + lines + "Content-Length: 0\r\n\r\n";
    });
    const auto transport = make_curl_transport();
    EXPECT_EQ(get(*transport, request_for(server.url("/"))).failure,
              "the response has more than 1000 header lines");
}

TEST(CurlTransport, TakesNothingEncoded) {
    std::mutex mutex;
    std::string head_seen;
    const Server server([&](const std::string& head) {
        const std::lock_guard guard(mutex);
        head_seen = head;
        if (head.starts_with("GET /missing "))
            return std::string(
                "HTTP/1.1 404 Not Found\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}");
        const bool transfer = head.starts_with("GET /transfer ");
        return std::string("HTTP/1.1 200 OK\r\n") +
               (transfer ? "transfer-encoding: gzip, chunked"
                         : "content-encoding: GZIP\r\nContent-Length: 2") +
               "\r\n\r\n" + (transfer ? "0\r\n\r\n" : "{}");
    });
    const auto transport = make_curl_transport();
    for (const char* path : {"/transfer", "/content"}) {
        const Completion completion = get(*transport, request_for(server.url(path)));
        EXPECT_EQ(completion.failure, "the response is encoded, which was not asked for") << path;
        EXPECT_EQ(completion.failed_in, Phase::body);
        EXPECT_NE(head_seen.find("Accept-Encoding: identity"), std::string::npos);
    }
    EXPECT_EQ(get(*transport, request_for(server.url("/missing"))).status, 404);
    EXPECT_EQ(get(*transport, request_for(server.url("/missing"))).failed_in, Phase::none);
}

TEST(CurlTransport, BoundsSizeAndTimeOverRedirectsTogether) {
    const Server server([](const std::string& head) {
        if (head.starts_with("GET /slow"))
            std::this_thread::sleep_for(milliseconds(250));
        const bool again =
            head.find(" /slow/3") == std::string::npos && head.find(" /big/1") == std::string::npos;
        const std::string path = head.substr(4, head.find(' ', 4) - 4);
        const std::string next = path.substr(0, path.size() - 1) + static_cast<char>(path.back() + 1);
        const std::string body(3000, 'x');
        return "HTTP/1.1 " + std::string(again ? "302 Found\r\nLocation: " + next : "200 OK") +
               "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    });
    const auto transport = make_curl_transport();
    Request request = request_for(server.url("/big/0"));
    request.max_response_bytes = 5000;
    EXPECT_EQ(get(*transport, request).failure, "the response is larger than 5000 bytes");
    request.max_response_bytes = 50'000;
    EXPECT_GT(get(*transport, request).received, 6000U);
    request = request_for(server.url("/slow/0"));
    request.timeout = milliseconds(400);
    EXPECT_EQ(get(*transport, request).failure, "timed out");
    request.timeout = milliseconds(5000);
    EXPECT_EQ(get(*transport, request).status, 200);
}

class CountedDescriptors final : public Descriptors {
 public:
    explicit CountedDescriptors(int most) : most_(most) {}
    bool reserve() override {
        if (reserved == most_)
            return false;
        most_seen = std::max(most_seen, ++reserved);
        return true;
    }
    void release() override { --reserved; }

    int reserved = 0;
    int most_seen = 0;

 private:
    int most_;
};

TEST(CurlTransport, ReservesItsDescriptors) {
    const Server server([](const std::string&) { return ok("x"); });
    CountedDescriptors descriptors(5);
    {
        const auto transport = make_curl_transport(1, &descriptors);
        EXPECT_EQ(descriptors.reserved, 3);
        for (int i = 0; i < 10; ++i)
            transport->start(request_for(server.url("/")));
        for (const Completion& completion : drive(*transport, 10))
            EXPECT_EQ(completion.failure, "");
        EXPECT_EQ(descriptors.most_seen, 4);
        EXPECT_EQ(server.connections(), 1);
    }
    EXPECT_EQ(descriptors.reserved, 0);
    {
        const auto transport = make_curl_transport(100, &descriptors);
        for (int i = 0; i < 10; ++i)
            transport->start(request_for(server.url("/")));
        for (const Completion& completion : drive(*transport, 10))
            EXPECT_TRUE(completion.failed_in == Phase::none || completion.failed_in == Phase::connect);
        EXPECT_EQ(descriptors.most_seen, 5);
    }
    EXPECT_EQ(descriptors.reserved, 0);
    CountedDescriptors none(2);
    EXPECT_THROW(make_curl_transport(1, &none), std::runtime_error);
    EXPECT_EQ(none.reserved, 0);
}

}  // namespace
}  // namespace rolecall::http
