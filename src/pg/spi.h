// SPI for C++: prepared statements that are kept, and conversion of values. All functions throw PgError when
// PostgreSQL raises an error. They work between spi_connect() and spi_finish() only; after an exception, the
// abort cleans up SPI.
#pragma once

#include "pg/guard.h"

#include <optional>

extern "C" {
#include "executor/spi.h"
#include "utils/timestamp.h"
}

namespace rolecall::pg {

void spi_connect();
void spi_finish();

/// A parameter of a statement; std::nullopt is NULL.
using Parameter = std::optional<Datum>;

Parameter text_parameter(std::string_view value);
Parameter text_array_parameter(const std::vector<std::string>& values);
Parameter bigint_array_parameter(std::span<const std::int64_t> values);
Parameter time_array_parameter(std::span<const std::optional<TimestampTz>> values);
inline Parameter bigint_parameter(int64 value) { return Int64GetDatum(value); }
inline Parameter integer_parameter(int32 value) { return Int32GetDatum(value); }
inline Parameter bool_parameter(bool value) { return BoolGetDatum(value); }
inline Parameter time_parameter(TimestampTz value) { return TimestampTzGetDatum(value); }

/// The rows of a statement, valid until spi_finish(). Rows are numbered from 0, columns from 1.
class Rows {
 public:
    Rows(SPITupleTable* table, std::uint64_t count) : table_(table), count_(count) {}
    std::uint64_t size() const { return count_; }
    bool is_null(std::uint64_t row, int column) const;
    int64 bigint(std::uint64_t row, int column) const;  ///< 0 for NULL, like the next three
    int32 integer(std::uint64_t row, int column) const;
    bool boolean(std::uint64_t row, int column) const;
    TimestampTz time(std::uint64_t row, int column) const;
    std::optional<std::string> string(std::uint64_t row, int column) const;
    Datum datum(std::uint64_t row, int column) const;

 private:
    SPITupleTable* table_;
    std::uint64_t count_;
};

/// A statement with parameter types. It is planned at its first use in this backend and then kept. Use static
/// objects.
class Statement {
 public:
    /// `options` are the planner's (CURSOR_OPT_...).
    Statement(const char* sql, std::initializer_list<Oid> types, int options = 0)
        : sql_(sql), types_(types), options_(options) {}

    /// Runs the statement with a new snapshot, which sees the transaction's own earlier writes.
    Rows run(std::initializer_list<Parameter> parameters);

 private:
    const char* sql_;
    std::vector<Oid> types_;
    int options_;
    SPIPlanPtr plan_ = nullptr;
};

}  // namespace rolecall::pg
