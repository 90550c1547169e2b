// SPI for C++: prepared statements that are kept, values in and out. Everything throws PgError where
// PostgreSQL raises an error. Between spi_connect() and spi_finish() only; after an exception SPI is left to
// the abort.
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

/// The rows of a statement. Valid until spi_finish(). Rows from 0, columns from 1.
class Rows {
 public:
    Rows(SPITupleTable* table, std::uint64_t count) : table_(table), count_(count) {}
    std::uint64_t size() const { return count_; }
    bool is_null(std::uint64_t row, int column) const;
    int64 bigint(std::uint64_t row, int column) const;  ///< 0 for NULL, as the next three
    int32 integer(std::uint64_t row, int column) const;
    bool boolean(std::uint64_t row, int column) const;
    TimestampTz time(std::uint64_t row, int column) const;
    std::optional<std::string> string(std::uint64_t row, int column) const;
    Datum datum(std::uint64_t row, int column) const;

 private:
    SPITupleTable* table_;
    std::uint64_t count_;
};

/// A statement with parameter types, planned at its first use in this backend and kept. For static objects.
class Statement {
 public:
    /// `options`: of the planner (CURSOR_OPT_...).
    Statement(const char* sql, std::initializer_list<Oid> types, int options = 0)
        : sql_(sql), types_(types), options_(options) {}

    /// Runs it with a snapshot of its own, own writes so far included.
    Rows run(std::initializer_list<Parameter> parameters);

 private:
    const char* sql_;
    std::vector<Oid> types_;
    int options_;
    SPIPlanPtr plan_ = nullptr;
};

}  // namespace rolecall::pg
