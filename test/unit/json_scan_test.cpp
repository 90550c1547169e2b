#include "http/json_scan.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace rolecall::http {
namespace {

MemberPath path(std::string_view text) { return MemberPath::parse(text).value(); }

std::optional<std::string> scalar(std::string_view json, std::string_view where) {
    return scalar_at(json, path(where));
}

std::optional<std::size_t> count(std::string_view json, std::string_view where) {
    return count_elements(json, path(where));
}

TEST(MemberPath, HasMembersAndNothingElse) {
    EXPECT_EQ(path("$").members(), std::vector<std::string>{});
    EXPECT_EQ(path(" $.a.b_2 ").members(), (std::vector<std::string>{"a", "b_2"}));
    EXPECT_EQ(path("$.\"@odata.nextLink\".x").members(), (std::vector<std::string>{"@odata.nextLink", "x"}));
    for (const char* other :
         {"", "a", "$a", "$.", "$..a", "$.a[0]", "$.2a", "$.\"a", "$.\"\"", "$.a ? (@ > 1)", "$.*"})
        EXPECT_FALSE(MemberPath::parse(other)) << other;
}

TEST(MemberPath, OfTheArrayThatAPathPicksFrom) {
    EXPECT_EQ(MemberPath::of_array("$.data.roles[*] ? (@.state == \"active\")")->members(),
              (std::vector<std::string>{"data", "roles"}));
    EXPECT_EQ(MemberPath::of_array("$[*]")->members(), std::vector<std::string>{});
    EXPECT_FALSE(MemberPath::of_array("$.roles"));
    EXPECT_FALSE(MemberPath::of_array("$.a[0].roles[*]"));
}

TEST(JsonScan, CountsElements) {
    EXPECT_EQ(count(R"({"roles": [1, "a,]", {"x": [1, 2]}, [], null]})", "$.roles"), 5U);
    EXPECT_EQ(count(R"( [ ] )", "$"), 0U);
    EXPECT_EQ(count(R"({"a": {"b": [true]}})", "$.a.b"), 1U);
    EXPECT_EQ(count(R"({"a": {"b": "[1]"}})", "$.a.b"), std::nullopt);
    EXPECT_EQ(count(R"({"a": []})", "$.b"), std::nullopt);
    EXPECT_EQ(count(R"([{"a": [1]}])", "$.a"), std::nullopt);
}

TEST(JsonScan, FindsScalars) {
    EXPECT_EQ(scalar(R"({"next": "abc"})", "$.next"), "abc");
    EXPECT_EQ(scalar(R"({"x": [{"next": 1}], "meta": {"next": -12.5e3 }})", "$.meta.next"), "-12.5e3");
    for (const char* none :
         {R"({"meta": {"next": null}})", R"({"meta": {}})", R"({"meta": null})", "{}", "null"})
        EXPECT_EQ(scalar(none, "$.meta.next"), std::nullopt) << none;
    // Taken for the last page, they would take away the roles of all others.
    for (const char* odd :
         {R"({"meta": {"next": false}})", R"({"meta": {"next": {}}})", R"({"meta": {"next": ["a", "b"]}})",
          R"({"meta": []})", R"({"meta": [{"next": "a"}, {"next": "b"}]})", R"({"meta": "a"})", "[]", "7"})
        EXPECT_THROW(scalar(odd, "$.meta.next"), Error) << odd;
    EXPECT_EQ(scalar("\"x\"", "$"), "x");
}

TEST(JsonScan, TheLastOfTwoEqualMembersCountsAsInJsonb) {
    EXPECT_EQ(scalar(R"({"next": "a", "next": "b"})", "$.next"), "b");
    EXPECT_EQ(scalar(R"({"a": {"next": "a"}, "a": {}})", "$.a.next"), std::nullopt);
}

TEST(JsonScan, ReadsEscapes) {
    EXPECT_EQ(scalar(R"({"n\u0065xt": "\"\\\/\b\f\n\r\t\u00e9\u4e2d\ud83d\ude00"})", "$.next"),
              "\"\\/\b\f\n\r\t\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80");
}

TEST(JsonScan, RefusesWhatIsNotJson) {
    for (const char* broken :
         {"", "{", "{\"next\"", "{\"next\":", "{\"next\": \"", "{\"next\": 1", "{\"next\" 1}", "{next: 1}",
          "{\"next\": 1 2}", "{\"next\": [1 2]}", "{\"next\": [1,]}", "{,}", "[", "{\"next\": \"\\x\"}",
          "{\"next\": \"\\u12g4\"}", "{\"next\": \"\\ud83d\"}", "{\"next\": \"\\ud83d\\u0041\"}",
          "{\"next\": }"})
        EXPECT_THROW(scalar(broken, "$.next"), Error) << broken;
    EXPECT_THROW(count(std::string(100'000, '['), "$"), Error);
    EXPECT_EQ(count(std::string(900, '[') + std::string(900, ']'), "$"), 1U);
}

}  // namespace
}  // namespace rolecall::http
