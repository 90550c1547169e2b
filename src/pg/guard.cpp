#include "pg/guard.h"

extern "C" {
#include "mb/pg_wchar.h"
}

namespace rolecall::pg::detail {

// clang-format off
ErrorData* run_catching(void (*body)(void*), void* argument) {
    MemoryContext caller = CurrentMemoryContext;
    ErrorData* volatile report = nullptr;
    PG_TRY();
    {
        body(argument);
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(caller);
        report = CopyErrorData();
        FlushErrorState();
    }
    PG_END_TRY();
    return report;
}
// clang-format on

namespace {

// Cut between characters where it does not fit.
void keep(char* to, std::size_t size, const char* text) {
    const int length = pg_mbcliplen(text, static_cast<int>(strlen(text)), static_cast<int>(size) - 1);
    memcpy(to, text, static_cast<std::size_t>(length));
    to[length] = '\0';
}

void keep(Caught& caught, int sqlstate, const char* message) {
    caught.sqlstate = sqlstate;
    keep(caught.message, sizeof caught.message, message);
    caught.detail[0] = caught.hint[0] = '\0';
}

}  // namespace

void describe(Caught& caught) noexcept {
    try {
        throw;
    } catch (const PgError& error) {
        caught.report = error.report();
    } catch (const Error& error) {
        const char* s = error.sqlstate();
        keep(caught, MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]), error.what());
        keep(caught.detail, sizeof caught.detail, error.detail().c_str());
        keep(caught.hint, sizeof caught.hint, error.hint().c_str());
    } catch (const std::bad_alloc&) {
        keep(caught, ERRCODE_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& error) {
        keep(caught, ERRCODE_INTERNAL_ERROR, error.what());
    } catch (...) {
        keep(caught, ERRCODE_INTERNAL_ERROR, "unknown C++ exception");
    }
}

void raise(const Caught& caught) {
    if (caught.report != nullptr)
        ReThrowError(caught.report);
    ereport(ERROR, (errcode(caught.sqlstate), errmsg("%s", caught.message),
                    caught.detail[0] != '\0' ? errdetail("%s", caught.detail) : 0,
                    caught.hint[0] != '\0' ? errhint("%s", caught.hint) : 0));
    pg_unreachable();
}

}  // namespace rolecall::pg::detail
