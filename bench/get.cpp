// get redis|memcached SOCKET KEYS SECONDS <VALUE: stores VALUE (from standard input) under KEYS keys, then
// gets them at random, one after the other over one connection, and prints how many a second.
#include <hiredis/hiredis.h>
#include <libmemcached/memcached.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

namespace {

[[noreturn]] void fail(const std::string& why) {
    std::cerr << why << '\n';
    std::exit(1);
}

struct Store {
    std::function<void(const std::string& key, const std::string& value)> set;
    std::function<std::size_t(const std::string& key)> get;  // the value's bytes
};

Store redis(const char* socket) {
    std::shared_ptr<redisContext> server(redisConnectUnix(socket), redisFree);
    if (server == nullptr || server->err != 0)
        fail("no redis");
    return {.set =
                [server](const std::string& key, const std::string& value) {
                    freeReplyObject(redisCommand(server.get(), "SET %b %b", key.data(), key.size(),
                                                 value.data(), value.size()));
                },
            .get =
                [server](const std::string& key) {
                    auto* reply = static_cast<redisReply*>(
                        redisCommand(server.get(), "GET %b", key.data(), key.size()));
                    const std::size_t bytes = reply != nullptr ? reply->len : 0;
                    freeReplyObject(reply);
                    return bytes;
                }};
}

Store memcached(const char* socket) {
    std::shared_ptr<memcached_st> server(memcached_create(nullptr), memcached_free);
    memcached_behavior_set(server.get(), MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1);
    if (memcached_server_add_unix_socket(server.get(), socket) != MEMCACHED_SUCCESS)
        fail("no memcached");
    return {.set =
                [server](const std::string& key, const std::string& value) {
                    (void)memcached_set(server.get(), key.data(), key.size(), value.data(), value.size(), 0,
                                        0);
                },
            .get =
                [server](const std::string& key) {
                    std::size_t bytes = 0;
                    std::uint32_t flags = 0;
                    memcached_return_t result{};
                    std::free(memcached_get(server.get(), key.data(), key.size(), &bytes, &flags, &result));
                    return bytes;
                }};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5)
        fail("usage: get redis|memcached SOCKET KEYS SECONDS <VALUE");
    const std::string value{std::istreambuf_iterator<char>(std::cin), {}};
    const Store store = std::string(argv[1]) == "redis" ? redis(argv[2]) : memcached(argv[2]);
    const int keys = std::atoi(argv[3]);
    for (int key = 1; key <= keys; ++key)
        store.set("me:" + std::to_string(key), value);

    std::minstd_rand random(1);
    std::uniform_int_distribution<int> any(1, keys);
    const auto start = std::chrono::steady_clock::now();
    const std::chrono::duration<double> limit(std::atof(argv[4]));
    long gets = 0;
    std::chrono::duration<double> passed{};
    for (; passed < limit; passed = std::chrono::steady_clock::now() - start)
        for (int i = 0; i < 100; ++i, ++gets)
            if (store.get("me:" + std::to_string(any(random))) != value.size())
                fail("a value is missing");
    std::printf("%.0f\n", static_cast<double>(gets) / passed.count());
}
