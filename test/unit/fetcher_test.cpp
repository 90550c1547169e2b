#include "http/fetcher.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "http/scripted_transport.h"

namespace rolecall::http {
namespace {

class FetcherTest : public testing::Test {
 protected:
    FetcherTest()
        : script(new ScriptedTransport),
          fetcher(std::unique_ptr<Transport>(script), [this] { return time; }) {}

    static std::vector<PagedRequest> requests(int count) {
        return std::vector<PagedRequest>(static_cast<std::size_t>(count));
    }

    // A request that pages by cursor.
    static PagedRequest paged() {
        PagedRequest request;
        request.request.url = "http://h/u";
        request.request.timeout = std::chrono::milliseconds(1000);
        request.request.max_response_bytes = 100;
        request.paging.style = Paging::Style::cursor;
        request.paging.parameter = "c";
        request.paging.cursor = MemberPath::parse("$.next").value();
        return request;
    }

    Fetcher::Clock::time_point time;

    ScriptedTransport* script;  // the fetcher's
    Fetcher fetcher;
};

TEST_F(FetcherTest, OneRequestIsOneAnswer) {
    const FetchId id = fetcher.start(requests(1));
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(1, 200, "body");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].id, id);
    ASSERT_EQ(ended[0].answers.size(), 1U);
    ASSERT_EQ(ended[0].answers[0].size(), 1U);
    EXPECT_EQ(ended[0].answers[0][0].body, "body");
    EXPECT_TRUE(ended[0].is_complete());
    EXPECT_EQ(ended[0].requests, 1);
    EXPECT_EQ(fetcher.in_flight(), 0U);
}

TEST_F(FetcherTest, AnswersComeTogetherInTheOrderOfTheirRequests) {
    fetcher.start(requests(2));
    script->answer(2, 200, "second");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(1, 200, "first");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    ASSERT_EQ(ended[0].answers.size(), 2U);
    EXPECT_EQ(ended[0].answers[0][0].body, "first");
    EXPECT_EQ(ended[0].answers[1][0].body, "second");
}

TEST_F(FetcherTest, OnlyOkIsACompleteAnswer) {
    RequestId request = 0;
    for (const int status : {201, 202, 203, 204, 205, 206, 207, 226, 300, 304}) {
        fetcher.start(requests(1));
        script->answer(++request, status, "a part");
        const auto ended = fetcher.advance();
        ASSERT_EQ(ended.size(), 1U);
        EXPECT_FALSE(ended[0].is_complete());
        ASSERT_TRUE(ended[0].failed.has_value());
        EXPECT_EQ(ended[0].failed->status, status);
    }
}

TEST_F(FetcherTest, TheFirstFailureEndsAFetch) {
    fetcher.start(requests(3));
    script->answer(1, 200, "fine");
    script->answer(2, 404, "gone");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    ASSERT_TRUE(ended[0].failed);
    EXPECT_EQ(ended[0].failed->status, 404);
    EXPECT_FALSE(ended[0].failed_at_once);  // it was not the first request
    ASSERT_EQ(ended[0].answers.size(), 1U);
    EXPECT_EQ(ended[0].answers[0][0].body, "fine");
    EXPECT_EQ(script->cancelled, (std::set<RequestId>{3}));
    EXPECT_EQ(script->in_flight(), 0U);
}

TEST_F(FetcherTest, TheFirstRequestFailsAtOnce) {
    fetcher.start(requests(2));
    script->answer(1, 404, "gone");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_TRUE(ended[0].failed_at_once);
}

// Who is not found is not found, whatever else is said, and whenever.
TEST_F(FetcherTest, TheFirstRequestHasTheLastWord) {
    for (const bool is_late : {false, true}) {
        for (const int others : {404, 403, 500, 0, 200}) {
            const FetchId id = fetcher.start(requests(2));
            const RequestId first = script->started.back().id - 1;
            if (!is_late)
                script->answer(first, 404, "");
            others == 0 ? script->fail(first + 1, Phase::connect, "refused")
                        : script->answer(first + 1, others, "{}");
            if (is_late) {
                EXPECT_TRUE(fetcher.advance().empty());
                script->answer(first, 404, "");
            }
            const auto ended = fetcher.advance();
            ASSERT_EQ(ended.size(), 1U);
            EXPECT_EQ(ended[0].id, id);
            EXPECT_TRUE(ended[0].failed_at_once);
            EXPECT_EQ(ended[0].failed.value().status, 404);
            EXPECT_TRUE(ended[0].answers.empty());
        }
    }
}

TEST_F(FetcherTest, WhatBefallsTheOthersWaitsForTheFirst) {
    fetcher.start({requests(1)[0], requests(1)[0], paged()});
    script->answer(3, 200, R"({"next": "b"})");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(2, 403, "");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(1, 200, "profile");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].failed.value().status, 403);
    ASSERT_EQ(ended[0].answers.size(), 1U);
    EXPECT_EQ(ended[0].answers[0][0].body, "profile");
    EXPECT_EQ(script->cancelled, (std::set<RequestId>{4}));
}

TEST_F(FetcherTest, FetchesDoNotDisturbEachOther) {
    const FetchId a = fetcher.start(requests(2));
    const FetchId b = fetcher.start(requests(2));
    script->fail(1, Phase::connect, "refused");
    script->answer(3, 200, "b1");
    script->answer(4, 200, "b2");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 2U);
    EXPECT_EQ(ended[0].id, a);
    EXPECT_EQ(ended[0].failed.value().failed_in, Phase::connect);
    EXPECT_EQ(ended[1].id, b);
    EXPECT_EQ(ended[1].answers.size(), 2U);
}

TEST_F(FetcherTest, NothingIsHeardOfACancelledFetch) {
    const FetchId id = fetcher.start(requests(2));
    script->answer(1, 200, "too late");
    fetcher.cancel(id);
    EXPECT_TRUE(fetcher.advance().empty());
    EXPECT_EQ(script->in_flight(), 0U);
    fetcher.cancel(id);  // once more is no harm
}

TEST_F(FetcherTest, AFetchThatCannotStartLeavesNothingBehind) {
    script->refuse_after = 1;
    EXPECT_THROW(fetcher.start(requests(2)), Error);
    EXPECT_EQ(fetcher.in_flight(), 0U);
    EXPECT_EQ(script->in_flight(), 0U);
    script->refuse_after = -1;
    const FetchId id = fetcher.start(requests(1));
    script->answer(2, 200, "after all");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].id, id);
}

TEST_F(FetcherTest, PagesOfAnAnswerComeTogether) {
    fetcher.start({requests(1)[0], paged()});
    script->answer(2, 200, R"({"next": "b"})");
    EXPECT_TRUE(fetcher.advance().empty());
    ASSERT_EQ(script->started.size(), 3U);
    EXPECT_EQ(script->started[2].request.url, "http://h/u?c=b");
    script->answer(3, 200, R"({"next": null})");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(1, 200, "profile");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    ASSERT_EQ(ended[0].answers.size(), 2U);
    EXPECT_EQ(ended[0].answers[0].size(), 1U);
    ASSERT_EQ(ended[0].answers[1].size(), 2U);
    EXPECT_EQ(ended[0].answers[1][0].body, R"({"next": "b"})");
    EXPECT_EQ(ended[0].answers[1][1].body, R"({"next": null})");
    EXPECT_EQ(ended[0].requests, 3);
    EXPECT_EQ(fetcher.in_flight(), 0U);
}

TEST_F(FetcherTest, APageThatFailsFailsTheFetch) {
    fetcher.start({paged(), paged()});
    script->answer(1, 200, R"({"next": "b"})");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(3, 500, "");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].failed.value().status, 500);
    EXPECT_TRUE(ended[0].answers.empty());
    EXPECT_EQ(script->cancelled, (std::set<RequestId>{2}));
}

TEST_F(FetcherTest, PagesThatTurnInACircleFailTheFetch) {
    fetcher.start({paged()});
    script->answer(1, 200, R"({"next": "b"})");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(2, 200, R"({"next": "b"})");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_FALSE(ended[0].is_complete());
    EXPECT_STREQ(ended[0].refused.value().sqlstate(), "RC104");
    EXPECT_EQ(script->in_flight(), 0U);
    EXPECT_EQ(fetcher.in_flight(), 0U);
}

TEST_F(FetcherTest, TimeAndSizeAreForAllPagesTogether) {
    fetcher.start({paged()});
    time += std::chrono::milliseconds(300);
    script->answer(1, 200, R"({"next": "b"})");
    EXPECT_TRUE(fetcher.advance().empty());
    EXPECT_EQ(script->started[1].request.timeout, std::chrono::milliseconds(700));
    EXPECT_EQ(script->started[1].request.max_response_bytes, 87U);
    time += std::chrono::milliseconds(700);
    script->answer(2, 200, R"({"next": "c"})");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].failed.value().failure, "timed out");
    EXPECT_EQ(script->started.size(), 2U);
}

TEST_F(FetcherTest, ANextPageThatCannotBeAskedForFailsTheFetch) {
    fetcher.start({paged(), paged()});
    script->refuse_after = 0;
    script->answer(1, 200, R"({"next": "b"})");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    EXPECT_EQ(ended[0].failed.value().failure, "refused by the script");
    EXPECT_EQ(script->in_flight(), 0U);
}

TEST_F(FetcherTest, AnAnswerThatIsAsItWasIsGoodWhereThatWasAsked) {
    std::vector<PagedRequest> both = requests(2);
    both[1].request.validators.etag = "\"v1\"";
    fetcher.start(both);
    script->answer(2, 304, "");
    script->answer(1, 200, "profile");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    ASSERT_TRUE(ended[0].is_complete());
    EXPECT_EQ(ended[0].answers[1][0].status, not_modified);
    fetcher.start(requests(1));
    script->answer(3, 304, "");
    EXPECT_FALSE(fetcher.advance().at(0).is_complete());
}

TEST_F(FetcherTest, AFetchThatIsCancelledBetweenPagesIsForgotten) {
    const FetchId id = fetcher.start({paged()});
    script->answer(1, 200, R"({"next": "b"})");
    EXPECT_TRUE(fetcher.advance().empty());
    fetcher.cancel(id);
    EXPECT_EQ(script->cancelled, (std::set<RequestId>{2}));
    EXPECT_EQ(fetcher.in_flight(), 0U);
}

}  // namespace
}  // namespace rolecall::http
