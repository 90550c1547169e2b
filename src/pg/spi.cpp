#include "pg/spi.h"

extern "C" {
#include "utils/array.h"
}

namespace rolecall::pg {

void spi_connect() {
    call([] { SPI_connect(); });
}

void spi_finish() {
    call([] { SPI_finish(); });
}

Parameter text_parameter(std::string_view value) {
    return call([&] {
        return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size())));
    });
}

Parameter text_array_parameter(const std::vector<std::string>& values) {
    return call([&] {
        auto* elements = static_cast<Datum*>(palloc(sizeof(Datum) * std::max<std::size_t>(values.size(), 1)));
        for (std::size_t i = 0; i < values.size(); ++i)
            elements[i] = PointerGetDatum(
                cstring_to_text_with_len(values[i].data(), static_cast<int>(values[i].size())));
        return PointerGetDatum(
            construct_array(elements, static_cast<int>(values.size()), TEXTOID, -1, false, TYPALIGN_INT));
    });
}

Parameter time_array_parameter(std::span<const std::optional<TimestampTz>> values) {
    return call([&] {
        auto* elements = static_cast<Datum*>(palloc(sizeof(Datum) * (values.size() + 1)));
        auto* nulls = static_cast<bool*>(palloc(values.size() + 1));
        for (std::size_t i = 0; i < values.size(); ++i) {
            elements[i] = TimestampTzGetDatum(values[i].value_or(0));
            nulls[i] = !values[i].has_value();
        }
        int dimensions[] = {static_cast<int>(values.size())};
        int bounds[] = {1};
        return PointerGetDatum(construct_md_array(elements, nulls, 1, dimensions, bounds, TIMESTAMPTZOID,
                                                  sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
    });
}

Parameter bigint_array_parameter(std::span<const std::int64_t> values) {
    return call([&] {
        auto* elements = static_cast<Datum*>(palloc(sizeof(Datum) * (values.size() + 1)));
        for (std::size_t i = 0; i < values.size(); ++i)
            elements[i] = Int64GetDatum(values[i]);
        return PointerGetDatum(construct_array(elements, static_cast<int>(values.size()), INT8OID,
                                               sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
    });
}

Datum Rows::datum(std::uint64_t row, int column) const {
    bool is_null = false;
    return SPI_getbinval(table_->vals[row], table_->tupdesc, column, &is_null);
}

bool Rows::is_null(std::uint64_t row, int column) const {
    bool is_null = false;
    (void)SPI_getbinval(table_->vals[row], table_->tupdesc, column, &is_null);
    return is_null;
}

int64 Rows::bigint(std::uint64_t row, int column) const {
    return is_null(row, column) ? 0 : DatumGetInt64(datum(row, column));
}

int32 Rows::integer(std::uint64_t row, int column) const {
    return is_null(row, column) ? 0 : DatumGetInt32(datum(row, column));
}

bool Rows::boolean(std::uint64_t row, int column) const {
    return !is_null(row, column) && DatumGetBool(datum(row, column));
}

TimestampTz Rows::time(std::uint64_t row, int column) const {
    return is_null(row, column) ? 0 : DatumGetTimestampTz(datum(row, column));
}

std::optional<std::string> Rows::string(std::uint64_t row, int column) const {
    if (is_null(row, column))
        return std::nullopt;
    const auto* value = call([&] { return DatumGetTextPP(datum(row, column)); });
    return std::string(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

Rows Statement::run(std::initializer_list<Parameter> parameters) {
    struct SpiResult {
        SPITupleTable* table;
        std::uint64_t count;
    };
    const SpiResult result = call([&] {
        if (plan_ == nullptr) {
            SPIPlanPtr plan =
                SPI_prepare_cursor(sql_, static_cast<int>(types_.size()), types_.data(), options_);
            if (plan == nullptr || SPI_keepplan(plan) != 0)
                elog(ERROR, "could not prepare a statement: %s", SPI_result_code_string(SPI_result));
            plan_ = plan;
        }
        auto* values =
            static_cast<Datum*>(palloc0(sizeof(Datum) * std::max<std::size_t>(parameters.size(), 1)));
        auto* nulls = static_cast<char*>(palloc0(parameters.size() + 1));
        std::size_t i = 0;
        for (const Parameter& parameter : parameters) {
            values[i] = parameter.value_or(Datum{0});
            nulls[i] = parameter.has_value() ? ' ' : 'n';
            ++i;
        }
        const int code = SPI_execute_plan(plan_, values, nulls, false, 0);
        if (code < 0)
            elog(ERROR, "could not run a statement: %s", SPI_result_code_string(code));
        return SpiResult{SPI_tuptable, SPI_processed};
    });
    return {result.table, result.count};
}

}  // namespace rolecall::pg
