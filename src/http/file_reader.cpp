#include "http/file_reader.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): pthread_sigmask is POSIX
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <set>
#include <stdexcept>

namespace rolecall::http {

namespace {

// The files that threads are reading. Never destroyed, because a thread may use it while the process exits.
struct Stuck {
    std::mutex mutex;
    std::multiset<std::string> paths;
};

Stuck& stuck() {
    static auto* instance = new Stuck;
    return *instance;
}

// Reads a regular file that is smaller than `buffer` and resizes the buffer to it. Returns 0 or an errno
// value. The path may lead to any kind of file, so opening it must not wait for a writer, acquire a
// controlling terminal, or change the file.
int read_regular(const char* path, std::string& buffer) {
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return errno;
    struct stat status {};
    int error = fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
    if (error == 0 && !S_ISREG(status.st_mode))
        error = EINVAL;
    if (error == 0 && status.st_size >= static_cast<off_t>(buffer.size()))
        error = EFBIG;
    std::size_t size = 0;
    while (error == 0 && size < buffer.size()) {  // st_size may be wrong
        const ssize_t got = read(fd, buffer.data() + size, buffer.size() - size);
        if (got == 0)
            break;
        if (got > 0)
            size += static_cast<std::size_t>(got);
        else if (errno != EINTR)
            error = errno;
    }
    close(fd);
    if (error == 0 && size == buffer.size())
        error = EFBIG;
    if (error == 0)
        buffer.resize(size);
    return error;
}

}  // namespace

struct FileRead::Progress {
    std::string path;
    std::string buffer;
    int error = 0;
    int event = -1;
    std::atomic<bool> done{false};

    Progress() = default;
    ~Progress() {
        if (event >= 0)
            close(event);
        explicit_bzero(buffer.data(), buffer.size());
    }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    static void* run(void* argument) {
        const std::unique_ptr<std::shared_ptr<Progress>> own(
            static_cast<std::shared_ptr<Progress>*>(argument));
        Progress& self = **own;
        self.error = read_regular(self.path.c_str(), self.buffer);
        const std::lock_guard guard(stuck().mutex);
        stuck().paths.erase(stuck().paths.find(self.path));
        self.done = true;
        (void)eventfd_write(self.event, 1);
        return nullptr;
    }
};

FileRead::FileRead(const std::string& path, std::size_t limit) : shared_(std::make_shared<Progress>()) {
    shared_->path = path;
    shared_->buffer.resize(limit);
    shared_->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (shared_->event < 0)
        throw std::runtime_error("could not make a descriptor to wait with");
    {
        const std::lock_guard guard(stuck().mutex);
        stuck().paths.insert(path);
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    auto own = std::make_unique<std::shared_ptr<Progress>>(shared_);
    pthread_t thread{};
    const int error = pthread_create(&thread, nullptr, Progress::run, own.get());
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) {
        const std::lock_guard guard(stuck().mutex);
        stuck().paths.erase(stuck().paths.find(path));
        throw std::runtime_error("could not start a thread");
    }
    (void)own.release();
    pthread_detach(thread);
}

FileRead::~FileRead() = default;

int FileRead::fd() const { return shared_->event; }

bool FileRead::is_done() const { return shared_->done; }

int FileRead::error() const { return is_done() ? shared_->error : EINPROGRESS; }

const std::string& FileRead::content() const { return shared_->buffer; }

bool FileRead::is_stuck(const std::string& path) {
    const std::lock_guard guard(stuck().mutex);
    return stuck().paths.contains(path);
}

}  // namespace rolecall::http
