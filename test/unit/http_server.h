// A server on loopback for the tests of the transport, and how it is driven.
#pragma once

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "http/curl_transport.h"

namespace rolecall::http {

using std::chrono::milliseconds;

// A listening socket on loopback, and its port.
inline int listen_on_loopback(int backlog, std::uint16_t& port) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener, backlog), 0);
    EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(address.sin_port);
    return listener;
}

// A server on loopback that answers each request on a connection by what `answer` makes of its head, until
// that is empty, which closes the connection.
class Server {
 public:
    explicit Server(std::function<std::string(const std::string& head)> answer) : answer_(std::move(answer)) {
        listener_ = listen_on_loopback(16, port_);
        thread_ = std::thread([this] { serve(); });
    }
    ~Server() {
        shutdown(listener_, SHUT_RDWR);
        thread_.join();
        close(listener_);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    std::string url(const std::string& path) const {
        return "http://127.0.0.1:" + std::to_string(port_) + path;
    }
    int connections() const { return connections_.load(); }

 private:
    void serve() {
        std::vector<std::thread> clients;
        for (;;) {
            const int client = accept(listener_, nullptr, nullptr);
            if (client < 0)
                break;
            ++connections_;
            clients.emplace_back([this, client] { talk(client); });
        }
        for (std::thread& client : clients)
            client.join();
    }

    void talk(int client) const {
        std::string input;
        char buffer[4096];
        for (;;) {
            const std::size_t end = input.find("\r\n\r\n");
            if (end == std::string::npos) {
                const ssize_t got = read(client, buffer, sizeof buffer);
                if (got <= 0)
                    break;
                input.append(buffer, static_cast<std::size_t>(got));
                continue;
            }
            const std::string output = answer_(input.substr(0, end));
            input.erase(0, end + 4);
            if (output.empty())
                break;
            if (send(client, output.data(), output.size(), MSG_NOSIGNAL) < 0)
                break;
        }
        close(client);
    }

    std::function<std::string(const std::string&)> answer_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<int> connections_{0};
    std::thread thread_;
};

inline std::string ok(const std::string& body) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// Waits as the server's loop does: for the descriptor or the timeout.
inline std::vector<Completion> drive(Transport& transport, std::size_t wanted) {
    std::vector<Completion> all;
    while (all.size() < wanted) {
        pollfd waiting{.fd = transport.fd(), .events = POLLIN, .revents = 0};
        poll(&waiting, 1, static_cast<int>(transport.timeout().count()));
        for (Completion& completion : transport.advance())
            all.push_back(std::move(completion));
    }
    return all;
}

inline Completion get(Transport& transport, Request request) {
    transport.start(request);
    return drive(transport, 1).front();
}

inline Request request_for(const std::string& url) {
    Request request;
    request.url = url;
    request.timeout = milliseconds(5000);
    return request;
}

}  // namespace rolecall::http
