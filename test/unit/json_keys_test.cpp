#include "core/json_keys.h"

#include <gtest/gtest.h>

namespace rolecall::core {
namespace {

TEST(JsonKeys, NoneTwice) {
    for (const char* json :
         {"{}", "[]", "1", "\"a\"", R"({"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]})",
          R"({"a": "b", "b": "a"})", R"({"a": "\"a\": 1, \"a\": 2"})", R"(["a", "a"])",
          R"({"a": ["x", "x"], "x": {"x": {"x": []}}})", R"({"A": 1, "a": 2})", R"({"": 1, " ": 2})",
          R"({"a\\": 1, "a": 2})", R"({"\u0061b": 1, "a\u0062c": 2})"})
        EXPECT_EQ(duplicate_key(json), std::nullopt) << json;
}

TEST(JsonKeys, Twice) {
    EXPECT_EQ(duplicate_key(R"({"roles": ["a"], "roles": []})"), "roles");
    EXPECT_EQ(duplicate_key(R"([1, {"x": [{"a": {}, "b": 1, "a": 2}]}])"), "a");
    EXPECT_EQ(duplicate_key(R"({"a" : 1 , "b" : {} , "a" : 2})"), "a");
    EXPECT_EQ(duplicate_key(R"({"": 1, "": 2})"), "");
}

TEST(JsonKeys, HoweverTheyAreWritten) {
    EXPECT_EQ(duplicate_key(R"({"role": 1, "r\u006fle": 2})"), "role");
    EXPECT_EQ(duplicate_key(R"({"\u00E9": 1, "é": 2})"), "é");
    EXPECT_EQ(duplicate_key(R"({"\uD83D\uDE00": 1, "😀": 2})"), "😀");
    EXPECT_EQ(duplicate_key(R"({"a\nb": 1, "a\u000ab": 2})"), "a\nb");
    EXPECT_EQ(duplicate_key(R"({"a\/b": 1, "a/b": 2})"), "a/b");
    EXPECT_EQ(duplicate_key(R"({"a\"": 1, "a\u0022": 2})"), "a\"");
}

TEST(JsonKeys, DeepNestingNeedsNoStack) {
    std::string json;
    for (int i = 0; i < 1'000'000; ++i)
        json += R"({"a":)";
    EXPECT_EQ(duplicate_key(json), std::nullopt);
}

// Not JSON: any answer will do, but there must be one.
TEST(JsonKeys, Garbage) {
    for (const char* json : {"", "{", "\"", "\"\\", R"({"\)", R"({"\u)", R"({"\u12)", R"({"\ud800)",
                             "}}}]]],,,", R"({"\ud800": 1})", R"({"\ud8)"})
        (void)duplicate_key(json);
}

}  // namespace
}  // namespace rolecall::core
