#include "pg/shmem.h"

extern "C" {
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace rolecall::pg {

namespace {

std::vector<SharedArea> areas;
shmem_request_hook_type previous_request_hook = nullptr;
shmem_startup_hook_type previous_startup_hook = nullptr;

void on_request() {
    if (previous_request_hook != nullptr)
        previous_request_hook();
    for (const SharedArea& area : areas) {
        RequestAddinShmemSpace(area.bytes());
        RequestNamedLWLockTranche(area.name, area.locks());
    }
}

void on_startup() {
    if (previous_startup_hook != nullptr)
        previous_startup_hook();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    for (const SharedArea& area : areas) {
        const std::size_t bytes = area.bytes();
        bool found = false;
        void* memory = ShmemInitStruct(area.name, bytes, &found);
        if (!found)
            memset(memory, 0, bytes);
        area.attach(memory, !found, GetNamedLWLockTranche(area.name));
    }
    LWLockRelease(AddinShmemInitLock);
}

}  // namespace

void add_shared_area(const SharedArea& area) {
    if (areas.empty()) {
        previous_request_hook = shmem_request_hook;
        shmem_request_hook = on_request;
        previous_startup_hook = shmem_startup_hook;
        shmem_startup_hook = on_startup;
    }
    areas.push_back(area);
}

}  // namespace rolecall::pg
