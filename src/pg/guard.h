// The only crossing between C++ exceptions and PostgreSQL errors (longjmp). There are two rules:
//
//     1. No exception leaves an extern "C" function: its body runs in guarded().
//     2. No PostgreSQL error jumps over a destructor: where objects with destructors are alive, PostgreSQL is
//        called through call(), which throws instead. Functions that hold only trivially destructible objects
//        (as the whole hit path does) may call PostgreSQL directly.
//
// A PgError must reach guarded(), or code that rolls back the (sub)transaction (pg/process.h). Code that
// swallows one leaves the backend in an undefined state. SQLSTATE, message, detail, hint and context survive
// the crossing.
#pragma once

#include "pg/pg.h"

#include "core/error.h"

namespace rolecall::pg {

/// A PostgreSQL error that travels as a C++ exception. The report lives in the memory context that was
/// current when call() began.
class PgError : public std::exception {
 public:
    explicit PgError(ErrorData* report) : report_(report) {}
    const char* what() const noexcept override { return report_->message; }
    ErrorData* report() const noexcept { return report_; }

 private:
    ErrorData* report_;
};

/// Runs `body(argument)`. Returns the report of the PostgreSQL error that it raised, in the current memory
/// context, or nullptr. Resources that the body has taken are left to a subtransaction of the caller.
ErrorData* run_catching(void (*body)(void*), void* argument);

namespace detail {

/// What guarded() carries out of a catch block. No member needs a destructor; raise() frees the texts.
struct Caught {
    ErrorData* report = nullptr;
    int sqlstate = 0;
    char* message = nullptr;
    char* detail = nullptr;
    char* hint = nullptr;
    const char* file = nullptr;
    const char* function = nullptr;
    int line = 0;
};

/// Fills `caught` from the exception being handled. Call it inside a catch block only.
void describe(Caught& caught) noexcept;

[[noreturn]] void raise(Caught& caught);

}  // namespace detail

/// Runs `f`, which calls PostgreSQL and holds no object with a destructor. Throws PgError when PostgreSQL
/// raises an error; after that, only cleanup is allowed.
template <typename F>
auto call(F&& f) -> std::invoke_result_t<F> {
    using Result = std::invoke_result_t<F>;
    if constexpr (std::is_void_v<Result>) {
        ErrorData* error =
            run_catching([](void* g) { (*static_cast<std::remove_reference_t<F>*>(g))(); }, &f);
        if (error != nullptr)
            throw PgError(error);
    } else {
        static_assert(std::is_trivially_destructible_v<Result>, "a result must survive a longjmp");
        struct Call {
            std::remove_reference_t<F>* function;
            Result result;
        } call{&f, Result{}};
        ErrorData* error = run_catching(
            [](void* c) {
                auto* self = static_cast<Call*>(c);
                self->result = (*self->function)();
            },
            &call);
        if (error != nullptr)
            throw PgError(error);
        return call.result;
    }
}

/// Runs `f`, the body of an extern "C" function, and turns an exception into a PostgreSQL error after all
/// objects of `f` are destroyed. Errors of PostgreSQL pass through.
template <typename F>
auto guarded(F&& f) -> std::invoke_result_t<F> {
    detail::Caught caught;
    try {
        return f();
    } catch (...) {
        detail::describe(caught);
    }
    detail::raise(caught);
}

}  // namespace rolecall::pg
