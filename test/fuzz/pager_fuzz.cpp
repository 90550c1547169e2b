// Whatever a provider sends as a page: its next one is at the same host, and pages end. What is a path of
// members means the same when its members are quoted.
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "http/pager.h"
#include "http/url.h"

using namespace rolecall::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1)
        return 0;
    const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
    Paging paging;
    paging.style = static_cast<Paging::Style>(data[0] % 5);
    paging.parameter = "p";
    paging.items = MemberPath::parse("$.a").value();
    paging.cursor = MemberPath::parse("$.a.b").value();
    paging.most_pages = 3;
    Request request;
    request.url = "https://x.org/users";
    Pager pager(request, paging);
    Completion page;
    page.status = 200;
    page.body = page.link = text;
    try {
        while (pager.advance(page)) {
            if (!same_origin(request.url, pager.request().url) || pager.pages() >= paging.most_pages)
                std::abort();
            page.body += ' ';  // else it is the same as the one before
        }
    } catch (const rolecall::Error&) {
    }
    if (const auto path = MemberPath::parse(text)) {
        std::string again = "$";
        for (const std::string& member : path->members())
            again += ".\"" + member + '"';
        if (MemberPath::parse(again)->members() != path->members())
            std::abort();
    }
    return 0;
}
