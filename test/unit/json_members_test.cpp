#include "core/json_members.h"

#include <gtest/gtest.h>

namespace rolecall::core {
namespace {

TEST(JsonMembers, Counts) {
    for (const char* json : {"", "{}", "[]", "1", "\"a\"", R"(["a", "a:b"])"})
        EXPECT_EQ(count_members(json), 0) << json;
    EXPECT_EQ(count_members(R"({"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]})"), 6);
    EXPECT_EQ(count_members(R"({"a" : 1 , "b":{},"a" : 2})"), 3);
    EXPECT_EQ(count_members(R"({"a:b": ":", "": "::"})"), 2);
}

TEST(JsonMembers, QuotesInStrings) {
    EXPECT_EQ(count_members(R"({"a": "\"a\": 1, \"a\": 2"})"), 1);
    EXPECT_EQ(count_members(R"({"a\\": 1, "a": ":"})"), 2);
    EXPECT_EQ(count_members(R"({"a\\\"": "\\", "é\u0022": ":\\\":"})"), 2);
}

TEST(JsonMembers, DeepNestingNeedsNoStack) {
    std::string json;
    for (int i = 0; i < 1'000'000; ++i)
        json += R"({"a":)";
    EXPECT_EQ(count_members(json), 1'000'000);
}

// Not JSON: any answer will do, but there must be one.
TEST(JsonMembers, Garbage) {
    for (const char* json : {"{", "\"", "\"\\", R"({"\)", "\\", ":", "}}}]]],,,,", R"({"\ud800": 1})"})
        (void)count_members(json);
}

}  // namespace
}  // namespace rolecall::core
