#include "http/retry_after.h"

#include <gtest/gtest.h>

namespace rolecall::http {
namespace {

using std::chrono::seconds;

constexpr std::time_t now = 784'111'777;  // Sun, 06 Nov 1994 08:49:37 GMT

TEST(RetryAfter, IsANumberOfSeconds) {
    EXPECT_EQ(retry_after("120", now), seconds(120));
    EXPECT_EQ(retry_after("0", now), seconds(0));
    EXPECT_EQ(retry_after("86401", now), seconds(86400));
    EXPECT_EQ(retry_after(std::string(100, '9'), now), seconds(86400));
}

TEST(RetryAfter, IsADateInAnyOfTheThreeForms) {
    EXPECT_EQ(retry_after("Sun, 06 Nov 1994 08:51:37 GMT", now), seconds(120));
    EXPECT_EQ(retry_after("Sunday, 06-Nov-94 08:51:37 GMT", now), seconds(120));
    EXPECT_EQ(retry_after("Sun Nov  6 08:51:37 1994", now), seconds(120));
    EXPECT_EQ(retry_after("Sun, 06 Nov 1994 08:49:36 GMT", now), seconds(0));
    EXPECT_EQ(retry_after("Mon, 06 Nov 1995 08:49:37 GMT", now), seconds(86400));
}

TEST(RetryAfter, IsNothingElse) {
    for (const char* other : {"", "soon", "-5", "1.5", "12 minutes", "Sun, 99 Nov 1994"})
        EXPECT_EQ(retry_after(other, now), seconds(0)) << other;
}

}  // namespace
}  // namespace rolecall::http
