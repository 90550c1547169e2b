// What the worker's fetching is measured against: libcurl's multi interface and nothing else. Asks for
// URL/users/100000, 100001 ... with a number of requests in flight, reads the answers, and throws them away. Prints
// the seconds it took.
//
//   bare_fetch URL USERS IN_FLIGHT
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <curl/curl.h>

namespace {

std::string url;
int next_user = 0;
int users = 0;

std::size_t read_body(char*, std::size_t, std::size_t bytes, void*) { return bytes; }

void ask_for_next(CURLM* multi, CURL* easy) {
    const std::string address = url + "/users/" + std::to_string(100000 + next_user++);
    curl_easy_setopt(easy, CURLOPT_URL, address.c_str());
    curl_multi_add_handle(multi, easy);
}

}  // namespace

int main(int, char** arguments) {
    url = arguments[1];
    users = std::atoi(arguments[2]);
    CURLM* multi = curl_multi_init();
    const auto started = std::chrono::steady_clock::now();
    for (int i = std::atoi(arguments[3]); i > 0 && next_user < users; --i) {
        CURL* easy = curl_easy_init();
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, read_body);
        ask_for_next(multi, easy);
    }
    int done = 0;
    int running = 1;
    while (done < users) {
        curl_multi_perform(multi, &running);
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
            CURL* easy = message->easy_handle;
            if (message->data.result != CURLE_OK)
                return 1;
            ++done;
            curl_multi_remove_handle(multi, easy);
            if (next_user < users) {
                ask_for_next(multi, easy);
                running = 1;
            }
        }
        if (running > 0)
            curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
    }
    std::printf("%f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
}
