#include "provider/fetcher.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "provider/scripted_transport.h"

namespace rolecall::provider {
namespace {

class FetcherTest : public testing::Test {
 protected:
    FetcherTest() : script(new ScriptedTransport), fetcher(std::unique_ptr<Transport>(script)) {}

    static std::vector<Request> requests(int count) {
        return std::vector<Request>(static_cast<std::size_t>(count));
    }

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
    ASSERT_EQ(ended[0].completions.size(), 1U);
    EXPECT_EQ(ended[0].completions[0].body, "body");
    EXPECT_EQ(fetcher.in_flight(), 0U);
}

TEST_F(FetcherTest, AnswersComeTogetherInTheOrderOfTheirRequests) {
    fetcher.start(requests(2));
    script->answer(2, 200, "second");
    EXPECT_TRUE(fetcher.advance().empty());
    script->answer(1, 204, "first");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    ASSERT_EQ(ended[0].completions.size(), 2U);
    EXPECT_EQ(ended[0].completions[0].body, "first");
    EXPECT_EQ(ended[0].completions[1].body, "second");
}

TEST_F(FetcherTest, TheFirstFailureEndsAFetch) {
    fetcher.start(requests(3));
    script->answer(1, 200, "fine");
    script->answer(2, 404, "gone");
    const auto ended = fetcher.advance();
    ASSERT_EQ(ended.size(), 1U);
    ASSERT_EQ(ended[0].completions.size(), 1U);
    EXPECT_EQ(ended[0].completions[0].status, 404);
    EXPECT_EQ(script->cancelled, (std::set<RequestId>{3}));
    EXPECT_EQ(script->in_flight(), 0U);
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
    EXPECT_EQ(ended[0].completions[0].failed_in, Phase::connect);
    EXPECT_EQ(ended[1].id, b);
    EXPECT_EQ(ended[1].completions.size(), 2U);
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

}  // namespace
}  // namespace rolecall::provider
