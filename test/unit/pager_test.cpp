#include "http/pager.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace rolecall::http {
namespace {

using Style = Paging::Style;

Pager pager(Style style, const std::string& url = "https://hr.example.org/users?size=2") {
    Request request;
    request.url = url;
    Paging paging;
    paging.style = style;
    paging.parameter = style == Style::page ? "page" : style == Style::offset ? "offset" : "cursor";
    paging.items = MemberPath::parse("$.roles").value();
    paging.cursor = MemberPath::parse("$.next").value();
    paging.most_pages = 4;
    return {request, paging};
}

Completion page(const std::string& body, const std::string& link = {}) {
    Completion completion;
    completion.status = 200;
    completion.body = body;
    completion.link = link;
    return completion;
}

std::string refusal(Pager& pager, const Completion& completion) {
    try {
        (void)pager.advance(completion);
    } catch (const Error& error) {
        EXPECT_STREQ(error.sqlstate(), "RC104");
        return error.detail();
    }
    return "none";
}

TEST(Pager, WithoutPagingAnAnswerIsOnePage) {
    Pager p = pager(Style::none);
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2");
    EXPECT_FALSE(p.advance(page("{", "<https://hr.example.org/2>; rel=next")));
}

TEST(Pager, LinksAreFollowedToTheLast) {
    Pager p = pager(Style::link, "https://hr.example.org/api/users");
    EXPECT_TRUE(p.advance(page("", "<?after=2>; rel=\"next\"")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/api/users?after=2");
    EXPECT_TRUE(
        p.advance(page("", "</api/x>; rel=prev, <https://hr.example.org:443/api/users?after=4>; rel=next")));
    EXPECT_EQ(p.request().url, "https://hr.example.org:443/api/users?after=4");
    EXPECT_FALSE(p.advance(page("", "</api/users>; rel=\"first\"")));
    EXPECT_EQ(p.pages(), 3);
}

TEST(Pager, PagesEndWithOneThatHasNoItems) {
    Pager p = pager(Style::page);
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&page=1");
    EXPECT_TRUE(p.advance(page(R"({"roles": ["a", "b"]})")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&page=2");
    EXPECT_TRUE(p.advance(page(R"({"roles": ["c"]})")));  // a short page is no last page
    EXPECT_FALSE(p.advance(page(R"({"roles": []})")));
}

TEST(Pager, PagesMayCountFromZero) {
    Request request;
    request.url = "http://h/u";
    Pager p(request, {.style = Style::page,
                      .parameter = "p",
                      .first = 0,
                      .items = MemberPath::parse("$").value(),
                      .cursor = {}});
    EXPECT_EQ(p.request().url, "http://h/u?p=0");
    EXPECT_TRUE(p.advance(page("[1]")));
    EXPECT_EQ(p.request().url, "http://h/u?p=1");
}

TEST(Pager, OffsetsCountWhatCame) {
    Pager p = pager(Style::offset);
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&offset=0");
    EXPECT_TRUE(p.advance(page(R"({"roles": ["a", "b", "c"]})")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&offset=3");
    EXPECT_TRUE(p.advance(page(R"({"roles": ["d"]})")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&offset=4");
    EXPECT_FALSE(p.advance(page(R"({"roles": []})")));
}

TEST(Pager, CursorsAreValuesOrAddresses) {
    Pager p = pager(Style::cursor);
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2");
    EXPECT_TRUE(p.advance(page(R"({"next": "a/b=&c"})")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&cursor=a%2Fb%3D%26c");
    EXPECT_TRUE(p.advance(page(R"({"next": 17})")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?size=2&cursor=17");
    EXPECT_TRUE(p.advance(page(R"({"next": "https://hr.example.org/users?at=18"})")));
    EXPECT_EQ(p.request().url, "https://hr.example.org/users?at=18");
    EXPECT_FALSE(p.advance(page(R"({"next": ""})")));
}

TEST(Pager, CirclesAreNoticed) {
    Pager link = pager(Style::link);
    EXPECT_TRUE(link.advance(page("", "</b>; rel=next")));
    EXPECT_EQ(refusal(link, page("", "</users?size=2>; rel=next")),
              "Page 2 names one as the next that was already seen.");
    Pager cursor = pager(Style::cursor);
    EXPECT_TRUE(cursor.advance(page(R"({"next": 1})")));
    EXPECT_EQ(refusal(cursor, page(R"({"next": 1})")), "Page 2 names one as the next that was already seen.");
    Pager number = pager(Style::page);  // a provider that does not know the parameter
    EXPECT_TRUE(number.advance(page(R"({"roles": [1]})")));
    EXPECT_EQ(refusal(number, page(R"({"roles": [1]})")), "Page 2 is the same as the one before.");
}

TEST(Pager, ThereIsALimit) {
    Pager p = pager(Style::offset);
    for (int i = 1; i < 4; ++i)
        EXPECT_TRUE(p.advance(page("{\"roles\": [" + std::to_string(i) + "]}")));
    EXPECT_EQ(refusal(p, page(R"({"roles": [4]})")), "There are more than 4 pages.");
    Pager full = pager(Style::link);  // as many as allowed are allowed
    for (int i = 1; i < 4; ++i)
        EXPECT_TRUE(full.advance(page("", "</" + std::to_string(i) + ">; rel=next")));
    EXPECT_FALSE(full.advance(page("")));
}

TEST(Pager, CredentialsGoToNoOtherHost) {
    for (const char* elsewhere :
         {"https://evil.example.org/users", "http://hr.example.org/users",
          "https://hr.example.org:8443/users", "//evil.example.org/", "file:///etc/passwd"}) {
        Pager p = pager(Style::link);
        EXPECT_EQ(refusal(p, page("", "<" + std::string(elsewhere) + ">; rel=next")),
                  "Page 1 names a next page at another host.")
            << elsewhere;
    }
    Pager p = pager(Style::cursor);
    EXPECT_EQ(refusal(p, page(R"({"next": "http://evil.example.org/"})")),
              "Page 1 names a next page at another host.");
}

TEST(Pager, APageThatCannotBeReadIsAnError) {
    Pager p = pager(Style::page);
    EXPECT_EQ(refusal(p, page(R"({"rolls": []})")), "Page 1 has no array where its items should be.");
    Pager broken = pager(Style::cursor);
    EXPECT_EQ(refusal(broken, page(R"({"next": )")), "It ends too early.");
}

TEST(NextLink, ReadsHeaders) {
    EXPECT_EQ(next_link(""), std::nullopt);
    EXPECT_EQ(next_link("</a>"), std::nullopt);
    EXPECT_EQ(next_link("</a>; rel=prev; title=next"), std::nullopt);
    EXPECT_EQ(next_link("</a>; rel=nextish"), std::nullopt);
    EXPECT_EQ(next_link("</a,b;c>; REL = \"start NEXT\""), "/a,b;c");
    EXPECT_EQ(next_link("</a>; title=\"x, <y>; rel=next\"; rel=last, </b>;rel=next"), "/b");
    EXPECT_EQ(next_link("</a>; title=\"\\\"\"; rel=next"), "/a");
    EXPECT_EQ(next_link("<>; rel=next"), std::nullopt);
    EXPECT_EQ(next_link("</a; rel=next"), std::nullopt);
}

}  // namespace
}  // namespace rolecall::http
