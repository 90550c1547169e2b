#include "http/json_prune.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace rolecall::http {
namespace {

// A database that has no ideographs
bool can_hold(std::string_view text) { return text.find('\xe4') == std::string_view::npos; }

// $.code, $.roles[*] with .role and .on, $.meta.n
core::JsonShape shape() {
    core::JsonShape user;
    user.members["code"].value = true;
    core::JsonShape& role = user.members["roles"];
    role.value = true;
    role.members["role"].value = true;
    role.members["on"].whole = true;
    user.members["meta"].members["n"].value = true;
    return user;
}

Pruned pruned(const std::string& json) { return prune_json(json, shape(), can_hold); }

std::string odd(Oddity oddity) {
    return "{\"rolecall odd value\":" + std::to_string(static_cast<int>(oddity)) + "}";
}

TEST(JsonPrune, KeepsWhatIsRead) {
    EXPECT_EQ(
        pruned(
            R"( {"code": "7", "roles": ["x", {"role": "y", "on": {"a": [1, {"b": null}]}, "z": 1}], "q": [{}]} )")
            .json,
        R"({"code":"7","roles":["x",{"role":"y","on":{"a":[1,{"b":null}]}}]})");
    EXPECT_EQ(pruned(R"({"meta": {"n": 1.50, "m": 2}, "roles": [[true, null, -0.5e+3]]})").json,
              R"({"meta":{"n":1.50},"roles":[[true,null,-0.5e+3]]})");
    EXPECT_EQ(pruned("{}").json, "{}");
    EXPECT_EQ(pruned("[]").json, "[]");
    EXPECT_EQ(pruned("null").json, "null");
    EXPECT_EQ(pruned(R"({"c\u006fde": "\u00e9\u0007\"\\\/"})").json,
              "{\"code\":\"\xc3\xa9\\u0007\\\"\\\\/\"}");
}

// Of values where others should be only the kind is left.
TEST(JsonPrune, KeepsKinds) {
    EXPECT_EQ(pruned(R"({"code": {"a": 1}, "roles": {"role": "r"}, "meta": "text"})").json,
              R"({"code":{},"roles":{"role":"r"},"meta":""})");
    EXPECT_EQ(pruned(R"([1, "a", true, {"code": 1}])").json, R"([0,"",true,{"code":1}])");
}

TEST(JsonPrune, WhatNobodyReadsIsNotJudged) {
    const std::string deep(100'000, '['), shallow(100'000, ']');
    for (const std::string& odd :
         {std::string(R"("\ud83d")"), std::string(R"("\ud83d\u0041\udc00")"), std::string(R"("\u0000")"),
          std::string("1e999999999"), std::string(2000, '9'), deep + shallow, std::string("\"\xff\xc3\""),
          std::string(R"({"x": 1, "x": {"\ud83d": 2, "y": "\u4e2d"}})")}) {
        const Pruned result =
            pruned("{\"x\": " + odd + ", \"code\": \"7\", \"meta\": [{\"x\": " + odd + "}]}");
        EXPECT_EQ(result.oddities, 0U) << odd.substr(0, 30);
        EXPECT_TRUE(result.json.starts_with("{\"code\":\"7\",\"meta\":[")) << result.json.substr(0, 60);
    }
    EXPECT_EQ(pruned(R"({"\ud83d": 1, "\u4e2d": 2, "code": 1})").json, R"({"code":1})");
}

TEST(JsonPrune, WhatIsReadAndCannotBeHeldIsMarked) {
    const auto code = [](const std::string& value) { return "{\"code\":" + value + "}"; };
    EXPECT_EQ(pruned(code(R"("\ud83d")")).json, code(odd(Oddity::half)));
    EXPECT_EQ(pruned(code(R"("\udc00")")).json, code(odd(Oddity::half)));
    EXPECT_EQ(pruned(code(R"("a\u0000")")).json, code(odd(Oddity::half)));
    EXPECT_EQ(pruned(code("\"\xff\"")).json, code(odd(Oddity::not_utf8)));
    EXPECT_EQ(pruned(code("\"\xed\xa0\x80\"")).json, code(odd(Oddity::not_utf8)));
    EXPECT_EQ(pruned(code(R"("\u4e2d")")).json, code(odd(Oddity::unrepresentable)));
    EXPECT_EQ(pruned(code("1e1001")).json, code(odd(Oddity::too_large)));
    EXPECT_EQ(pruned(code("-1E-1001")).json, code(odd(Oddity::too_large)));
    EXPECT_EQ(pruned(code(std::string(1001, '9'))).json, code(odd(Oddity::too_large)));
    EXPECT_EQ(pruned(code("1e1000")).json, code("1e1000"));
    EXPECT_EQ(pruned(R"({"code": 1, "code": 1})").json, odd(Oddity::twice));
    EXPECT_EQ(pruned(R"({"code": 1, "c\u006fde": 1})").json, odd(Oddity::twice));
    EXPECT_EQ(pruned(R"({"roles": [{"on": {"\ud83d": 1}}, "x"]})").json,
              R"({"roles":[{"on":)" + odd(Oddity::half) + R"(},"x"]})");
    const std::string deep =
        pruned("{\"roles\": " + std::string(2000, '[') + std::string(2000, ']') + "}").json;
    EXPECT_NE(deep.find(odd(Oddity::too_deep)), std::string::npos);
    EXPECT_EQ(pruned(R"([{"code": "\ud83d"}, {"code": 1, "code": 2}, {"code": 3}])").oddities, 2U);
}

TEST(JsonPrune, RefusesWhatIsNotJson) {
    for (const char* broken : {"",
                               "{",
                               "{\"x\"",
                               "{\"x\":",
                               "{\"x\": \"",
                               "{\"x\": 1",
                               "{\"x\" 1}",
                               "{x: 1}",
                               "{\"x\": 1 2}",
                               "{\"x\": [1 2]}",
                               "{\"x\": [1,]}",
                               "{,}",
                               "[",
                               "{\"x\": \"\\x\"}",
                               "{\"x\": \"\\u12g4\"}",
                               "{\"x\": }",
                               "{} {}",
                               "{}x",
                               "{\"x\": 01}",
                               "{\"x\": 1.}",
                               "{\"x\": .5}",
                               "{\"x\": 1e}",
                               "{\"x\": +1}",
                               "{\"x\": nul}",
                               "{\"x\": 1\"\"}",
                               "{\"x\": NaN}",
                               "{\"x\": \"\n\"}",
                               "{\"x\": [}]}",
                               "{\"x\": {]}",
                               "{\"x\": {\"y\"}}",
                               "[1}",
                               "\xef\xbb\xbf{}",
                               "{\"x\": \xff}"}) {
        EXPECT_THROW(pruned(broken), Error) << broken;
        std::string read = broken;  // the same where it is read
        std::replace(read.begin(), read.end(), 'x', 'c');
        for (std::size_t at = 0; (at = read.find("\"c\"", at)) != std::string::npos; at += 6)
            read.replace(at, 3, "\"code\"");
        EXPECT_THROW(pruned(read), Error) << read;
    }
    EXPECT_THROW(pruned(std::string("{\"code\": \"\0\"}", 13)), Error);
    EXPECT_THROW(pruned(std::string(100'000, '[')), Error);
}

core::JsonShape counting_shape() {
    core::JsonShape user = shape();
    user.counts_anew = true;
    user.members["roles"].counted = true;
    return user;
}

TEST(JsonPrune, WhatIsCountedIsNotKeptBeyondItsNumber) {
    const PruneLimits limits{.counted = 2};
    const auto of = [&](const std::string& roles) {
        return prune_json("{\"roles\": " + roles + ", \"code\": \"7\"}", counting_shape(), can_hold, limits)
            .json;
    };
    const std::string many = "{\"roles\":" + odd(Oddity::too_many) + ",\"code\":\"7\"}";
    EXPECT_EQ(of(R"(["a", "b"])"), R"({"roles":["a","b"],"code":"7"})");
    EXPECT_EQ(of(R"(["a", "b", {}])"), many);
    EXPECT_EQ(of(R"(["a", "b", {"role": [[1, 2, 3]]}, "\ud83d", 1e999999])"), many);
    EXPECT_EQ(of(R"([["a"], ["b"]])"), many);  // arrays are looked through, and are elements themselves
    const std::string listed = R"([{"roles":["a","b"]},{"roles":["a","b"]}])";
    EXPECT_EQ(prune_json(listed, counting_shape(), can_hold, limits).json, listed);  // each user's
}

TEST(JsonPrune, ValuesOfWhichThereMayBeAnyNumberAreBounded) {
    const PruneLimits limits{.values = 4};
    const auto of = [&](const std::string& json) { return prune_json(json, shape(), can_hold, limits).json; };
    EXPECT_EQ(of(R"({"roles":[{"on":[1,2]},"a"],"code":"7"})"), R"({"roles":[{"on":[1,2]},"a"],"code":"7"})");
    EXPECT_EQ(of(R"({"roles":[{"on":[1,2,3,4]}],"code":"7"})"),
              "{\"roles\":[{\"on\":" + odd(Oddity::too_large_whole) + "}],\"code\":\"7\"}");
    EXPECT_EQ(of(R"({"roles":[{"on":{"a":1,"b":2,"c":3,"d":4}}],"code":"7"})"),
              "{\"roles\":[{\"on\":" + odd(Oddity::too_large_whole) + "}],\"code\":\"7\"}");
}

TEST(JsonPrune, MarksWhatHasMembersThatNobodyReads) {
    core::JsonShape user = shape();
    user.members["roles"].marks_more = true;
    const auto of = [&](const std::string& json) { return prune_json(json, user, can_hold).json; };
    EXPECT_EQ(of(R"({"roles":[{"role":"a"}],"x":1})"), R"({"roles":[{"role":"a"}]})");
    EXPECT_EQ(of(R"({"roles":[{"role":"a","On":{}}]})"),
              R"({"roles":[{"role":"a","rolecall unread members":0}]})");
    EXPECT_EQ(of(R"({"roles":[{"x":"\ud83d"}]})"), R"({"roles":[{"rolecall unread members":0}]})");
}

TEST(JsonPrune, IsInterruptible) {
    struct Interrupted {};
    const PruneLimits limits{.meanwhile = [] { throw Interrupted(); }};
    std::string json = "{\"x\":[";
    for (int i = 0; i < 10'000; ++i)
        json += "0,";
    EXPECT_THROW(prune_json(json + "0]}", shape(), can_hold, limits), Interrupted);
}

}  // namespace
}  // namespace rolecall::http
