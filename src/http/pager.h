// Answers that come in pages. After each page, a Pager returns the request for the next page, or that the
// page was the last. Used for the roles of one user (through Fetcher) and for lists of users (page by page).
// It depends on neither the transport nor the clock.
#pragma once

#include <optional>
#include <set>

#include "http/json_scan.h"
#include "http/transport.h"

namespace rolecall::http {

/// How a provider divides answers into pages.
struct Paging {
    enum class Style {
        none,    ///< an answer is one page; only then do Validators cover all of it
        link,    ///< the Link header with rel="next" names the next page (RFC 8288)
        page,    ///< ?page=1, ?page=2, ... until a page has no items
        offset,  ///< ?offset=0, ?offset=(items so far), ... until a page has no items
        cursor,  ///< each page contains a value for ?cursor=, or the next page's URL
    };
    Style style = Style::none;
    std::string parameter;  ///< the query parameter for page, offset or cursor
    int first = 1;          ///< number of the first page
    MemberPath items;       ///< for page and offset: the path of the array in each page
    MemberPath cursor;      ///< for cursor: the path of the cursor in each page
    int most_pages = 1000;
};

/// Follows one answer through its pages:
///
///     Pager pager(request, paging);
///     do send pager.request(); while (pager.advance(its completion));
class Pager {
 public:
    Pager(Request first, Paging paging);

    /// Returns the request for the current page.
    const Request& request() const { return request_; }

    /// Takes the answer to request(), which must be a successful one. Returns true if there is another page,
    /// and false if this page was the last and the answer is complete. Throws Error RC104 if the pages cannot
    /// be followed to the end: a page cannot be read, a page repeats, there are more than most_pages, or the
    /// next page has another origin.
    bool advance(const Completion& page);

    /// Returns the number of pages taken so far.
    int pages() const { return pages_; }

 private:
    std::optional<std::string> next_url(const Completion& page);
    std::size_t items_on(const Completion& page) const;

    Paging paging_;
    std::string first_url_;
    Request request_;
    int pages_ = 0;
    std::size_t items_ = 0;
    std::string last_body_;       // for page and offset: the body of the page before
    std::set<std::string> seen_;  // for link and cursor: the URLs of the pages so far
};

/// Returns the target of rel="next" in a Link header, or nullopt if there is none.
std::optional<std::string> next_link(std::string_view header);

}  // namespace rolecall::http
