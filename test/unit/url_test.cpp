#include "http/url.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace rolecall::http {
namespace {

TEST(BaseUrl, LosesTrailingSlashes) {
    EXPECT_EQ(check_base_url("https://hr.example.org/api/"), "https://hr.example.org/api");
    EXPECT_EQ(check_base_url("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    EXPECT_EQ(check_base_url("https://[::1]:8443//"), "https://[::1]:8443");
}

TEST(BaseUrl, RefusesWhatIsNotOne) {
    for (const char* url : {"", "hr.example.org", "/path", "ftp://x.org", "file:///etc/passwd", "https://",
                            "https://u:p@x.org", "https://u@x.org", "https://x.org?a=1", "https://x.org#f",
                            "javascript:alert(1)", "https://x y.org"}) {
        EXPECT_THROW((void)check_base_url(url), Error) << url;
    }
}

TEST(BaseUrl, ComplaintsDoNotRepeatCredentials) {
    try {
        (void)check_base_url("https://user:the-secret@x.org");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ((error.message() + error.detail() + error.hint()).find("the-secret"), std::string::npos);
        EXPECT_STREQ(error.sqlstate(), "22023");
    }
}

TEST(RequestPath, NamesTheSubject) {
    EXPECT_NO_THROW(check_request_path("/users/{subject}?a=b"));
    for (const char* path : {"", "users/{subject}", "/users", "/users/{subject} x", "/users/{subject}\n",
                             "/\xc3\xa9/{subject}"}) {
        EXPECT_THROW(check_request_path(path), Error) << path;
    }
}

TEST(RequestUrl, EncodesTheSubjectAsOneSegment) {
    EXPECT_EQ(request_url("https://x.org/api", "/users/{subject}", "abc-1._~"),
              "https://x.org/api/users/abc-1._~");
    EXPECT_EQ(request_url("https://x.org", "/u/{subject}/roles?p={subject}", "a/b?c&d=e#f%g h"),
              "https://x.org/u/a%2Fb%3Fc%26d%3De%23f%25g%20h/roles?p=a%2Fb%3Fc%26d%3De%23f%25g%20h");
    EXPECT_EQ(request_url("https://x.org", "/{subject}", "\xc3\xa9{subject}"),
              "https://x.org/%C3%A9%7Bsubject%7D");
}

TEST(RequestUrl, RefusesSubjectsThatWalk) {
    for (const char* subject : {"", ".", ".."}) {
        EXPECT_THROW((void)request_url("https://x.org", "/users/{subject}", subject), Error) << subject;
    }
    EXPECT_NO_THROW((void)request_url("https://x.org", "/users/{subject}", "..."));
}

TEST(SameOrigin, ComparesSchemeHostAndPort) {
    EXPECT_TRUE(same_origin("https://x.org/a", "https://x.org/b?c"));
    EXPECT_TRUE(same_origin("https://x.org/a", "https://x.org:443/b"));
    EXPECT_FALSE(same_origin("https://x.org", "http://x.org"));
    EXPECT_FALSE(same_origin("https://x.org", "https://y.org"));
    EXPECT_FALSE(same_origin("https://x.org", "https://x.org.evil.org"));
    EXPECT_FALSE(same_origin("https://x.org", "https://x.org:444"));
    EXPECT_FALSE(same_origin("https://x.org", "not a url"));
}

}  // namespace
}  // namespace rolecall::http
