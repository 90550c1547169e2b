#include "pg/process.h"

#include "core/error.h"
#include "pg/security_context.h"
#include "pg/spi.h"

extern "C" {
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
}

namespace rolecall::pg {

namespace {

volatile sig_atomic_t leave_requested = 0;
volatile sig_atomic_t in_transaction = 0;
bool is_ours = false;  // process_init() was called: this is a process of the extension
void (*on_leave)() = nullptr;
volatile sig_atomic_t cancelled = 0;

void on_sigterm(SIGNAL_ARGS) {
    const int saved = errno;
    leave_requested = 1;
    if (on_leave != nullptr)
        on_leave();
    if (in_transaction != 0)
        die(postgres_signal_arg);  // ends a lock wait too
    SetLatch(MyLatch);
    errno = saved;
}

// Outside a transaction there is no statement to cancel, and an error would end the process.
void on_sigint(SIGNAL_ARGS) {
    const int saved = errno;
    if (in_transaction != 0)
        StatementCancelHandler(postgres_signal_arg);
    else
        cancelled = 1;
    SetLatch(MyLatch);
    errno = saved;
}

// Notes a cancel request that arrived after the transaction had ended.
void note_cancel() {
    if (!is_ours || in_transaction != 0 || QueryCancelPending == 0)
        return;
    QueryCancelPending = 0;
    cancelled = 1;
}

// Describes the exception being handled.
Failure describe() {
    try {
        throw;
    } catch (const pg::PgError& error) {
        const char* detail = error.report()->detail;
        const int state = error.report()->sqlerrcode;
        return {.cancelled = state == ERRCODE_QUERY_CANCELED,
                .held_up = state == ERRCODE_LOCK_NOT_AVAILABLE || state == ERRCODE_T_R_DEADLOCK_DETECTED,
                .message = error.what() + (detail != nullptr ? ": " + std::string(detail) : std::string())};
    } catch (const Error& error) {
        return {.message = error.summary()};
    } catch (const std::exception& error) {
        return {.message = error.what()};
    }
}

}  // namespace

void process_init(void (*at_sigterm)()) {
    is_ours = true;
    on_leave = at_sigterm;
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGINT, on_sigint);
    pqsignal(SIGTERM, on_sigterm);
    BackgroundWorkerUnblockSignals();
    // The server ignores SIGHUP while it starts this process, so the configuration that the process inherited
    // may be outdated.
    ConfigReloadPending = 1;
}

bool is_background() { return is_ours; }

bool told_to_leave() { return leave_requested != 0; }

bool was_cancelled() {
    const bool was = cancelled != 0;
    cancelled = 0;
    return was;
}

bool reload_if_asked() {
    if (ConfigReloadPending == 0)
        return false;
    ConfigReloadPending = 0;
    ProcessConfigFile(PGC_SIGHUP);
    return true;
}

void wait_for_latch(long milliseconds, int fd, pg::WaitEvent& event) {
    const int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (milliseconds >= 0 ? WL_TIMEOUT : 0) |
                       (fd >= 0 ? WL_SOCKET_READABLE : 0);
    (void)WaitLatchOrSocket(MyLatch, events, fd >= 0 ? fd : PGINVALID_SOCKET, milliseconds, event.id());
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
}

std::optional<Failure> transact(const std::function<void()>& f) {
    std::optional<Failure> failure;
    try {
        pg::call([] {
            SetCurrentStatementStartTimestamp();
            StartTransactionCommand();
            PushActiveSnapshot(GetTransactionSnapshot());
        });
        f();
        pg::call([] {
            PopActiveSnapshot();
            CommitTransactionCommand();
        });
    } catch (...) {
        failure = describe();
    }
    // The server's own main loops clean up like this after an error.
    if (failure) {
        HOLD_INTERRUPTS();
        AbortCurrentTransaction();
        QueryCancelPending = 0;
        RESUME_INTERRUPTS();
    }
    MemoryContextSwitchTo(TopMemoryContext);
    return failure;
}

std::optional<Failure> transact_as_owner(const std::function<void()>& f, int most_wait) {
    in_transaction = 1;
    std::optional<Failure> failure = transact([&] {
        const pg::SecurityContext before = pg::call([=] {
            pg::set_lock_timeout(most_wait);
            return pg::act_as_owner();
        });
        pg::spi_connect();
        f();
        pg::spi_finish();
        pg::call([&] { pg::restore_security_context(before); });
    });
    in_transaction = 0;
    note_cancel();
    CHECK_FOR_INTERRUPTS();
    return failure;
}

bool run_in_transaction(const std::function<void()>& f, std::string& error) {
    const std::optional<Failure> failure = transact_as_owner(f);
    if (failure)
        error = failure->message;
    return !failure;
}

bool run_in_subtransaction(const std::function<void()>& f, std::string& error) {
    MemoryContext context = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    pg::call([&] {
        BeginInternalSubTransaction(nullptr);
        MemoryContextSwitchTo(context);
    });
    bool done = false;
    try {
        f();
        pg::call([] { ReleaseCurrentSubTransaction(); });
        done = true;
    } catch (...) {
        error = describe().message;
    }
    if (!done)
        pg::call([] { RollbackAndReleaseCurrentSubTransaction(); });
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    return done;
}

}  // namespace rolecall::pg
