#include "core/sql_text.h"

#include <gtest/gtest.h>

namespace rolecall::core {

TEST(SqlText, StringsInPlainQuotesWithABackslashAreAmbiguous) {
    for (const char* text : {R"(RETURN 'a\tb')", R"(x := '\';)", R"(SELECT 'it''s \d')", R"(SELECT e, '\d')",
                             R"(/* 'a' */ '\')", R"(SELECT $1, '\d')", R"(SELECT nameE'\d')", R"('\)"})
        EXPECT_TRUE(has_ambiguous_string(text)) << text;
}

TEST(SqlText, WhatIsReadInOneWayOnlyIsNot) {
    for (const char* text :
         {"", "SELECT 'plain', \"na\\me\"", R"(RETURN E'a\tb''\'')", R"(x := e'\d';)", R"(-- '\d'
SELECT 1)",
          R"(/* '\d' /* nested '\' */ */ SELECT 1)", R"($re$\d$re$)", R"($$ '\d' $$)", "SELECT 1 + 2 \\ 3",
          "'unterminated", "$tag$ '\\"})
        EXPECT_FALSE(has_ambiguous_string(text)) << text;
}

}  // namespace rolecall::core
