// Answers that come in pages: after each page, which request brings the next one, or that this was the last.
// Used for one user's roles (through Fetcher) and for lists of users (page by page). Knows no transport and
// no time.
#pragma once

#include <optional>
#include <set>

#include "http/json_scan.h"
#include "http/transport.h"

namespace rolecall::http {

/// How a provider pages.
struct Paging {
    enum class Style {
        none,    ///< an answer is one page; only then can Validators speak for all of it
        link,    ///< the header Link names the next page by rel="next" (RFC 8288)
        page,    ///< ?page=1, ?page=2 ..., until a page has no items
        offset,  ///< ?offset=0, ?offset=items so far ..., until a page has no items
        cursor,  ///< each page names the next, by a value for ?cursor= or by its address
    };
    Style style = Style::none;
    std::string parameter;  ///< of the query that holds page, offset or cursor
    int first = 1;          ///< number of the first page
    MemberPath items;       ///< page, offset: the array on each page
    MemberPath cursor;      ///< cursor: where a page names the next
    int most_pages = 1000;
};

/// Follows one answer through its pages:
///
///     Pager pager(request, paging);
///     do ask for pager.request(); while (pager.advance(its completion));
class Pager {
 public:
    Pager(Request first, Paging paging);

    /// The page to ask for now.
    const Request& request() const { return request_; }

    /// Takes the answer to request(), a good one. True: there is another page. False: that was the last, and
    /// the answer is complete. Throws Error RC104 where the pages cannot be followed to their end: one cannot
    /// be read, they turn in a circle, there are more than most_pages, or the next one is at another host.
    bool advance(const Completion& page);

    /// Pages taken so far.
    int pages() const { return pages_; }

 private:
    std::optional<std::string> next_url(const Completion& page);
    std::size_t items_on(const Completion& page) const;

    Paging paging_;
    std::string first_url_;
    Request request_;
    int pages_ = 0;
    std::size_t items_ = 0;
    std::string last_body_;       // page, offset: the one before
    std::set<std::string> seen_;  // link, cursor: addresses
};

/// The target of rel="next" in a Link header; nullopt: there is none.
std::optional<std::string> next_link(std::string_view header);

}  // namespace rolecall::http
