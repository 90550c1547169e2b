#include "pg/guard.h"

#include <cstdlib>
#include <cstring>

namespace rolecall::pg {

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

namespace detail {

namespace {

// Copies by malloc, because allocating PostgreSQL's memory could raise an error inside a catch block.
void keep(char*& to, const std::string& text) {
    if (!text.empty())
        to = strdup(text.c_str());
}

void keep(Caught& caught, int sqlstate, const char* message,
          const SourcePlace& where = SourcePlace::current()) {
    caught.sqlstate = sqlstate;
    caught.message = strdup(message);
    caught.file = where.file;
    caught.function = where.function;
    caught.line = where.line;
}

}  // namespace

void describe(Caught& caught) noexcept {
    try {
        throw;
    } catch (const PgError& error) {
        caught.report = error.report();
    } catch (const Error& error) {
        const char* s = error.sqlstate();
        keep(caught, MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]), error.what(), error.where());
        keep(caught.detail, error.detail());
        keep(caught.hint, error.hint());
    } catch (const std::bad_alloc&) {
        keep(caught, ERRCODE_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& error) {
        keep(caught, ERRCODE_INTERNAL_ERROR, error.what());
    } catch (...) {
        keep(caught, ERRCODE_INTERNAL_ERROR, "unknown C++ exception");
    }
}

// Does what ereport() does, but reports the place of the exception. A text is nullptr if there was no memory
// for its copy.
void raise(Caught& caught) {
    if (caught.report != nullptr)
        ReThrowError(caught.report);
    (void)errstart(ERROR, TEXTDOMAIN);
    errcode(caught.sqlstate);
    errmsg("%s", caught.message != nullptr ? caught.message : "out of memory");
    if (caught.detail != nullptr)
        errdetail("%s", caught.detail);
    if (caught.hint != nullptr)
        errhint("%s", caught.hint);
    free(caught.message);
    free(caught.detail);
    free(caught.hint);
    errfinish(caught.file, caught.line, caught.function);
    pg_unreachable();
}

}  // namespace detail

}  // namespace rolecall::pg
