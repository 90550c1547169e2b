// Reads a small file without blocking the caller. The path may lead to a pipe, a device or a mount whose
// server does not answer, so a separate thread opens and reads the file. If it blocks, it can be abandoned.
// All signals are blocked in this thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace rolecall::http {

/// Reads one file. If the thread is not done when the object is destroyed, it is abandoned with its buffer.
class FileRead {
 public:
    /// Begins to read a file of less than `limit` bytes. Throws std::runtime_error if a thread or the event
    /// descriptor cannot be created.
    FileRead(const std::string& path, std::size_t limit);
    ~FileRead();
    FileRead(const FileRead&) = delete;
    FileRead& operator=(const FileRead&) = delete;

    /// Returns a descriptor that becomes readable when the read is done. The object owns it.
    int fd() const;

    bool is_done() const;

    /// Returns 0 or an errno value: EINPROGRESS until the read is done, EINVAL if the file is not regular
    /// (EISDIR for a directory), EFBIG if it is too large.
    int error() const;

    /// Returns the file's content. Call it only after error() has returned 0. The content is erased from
    /// memory when the object is destroyed.
    const std::string& content() const;

    /// Returns whether a thread is still reading this file, so that the caller need not start another one.
    static bool is_stuck(const std::string& path);

 private:
    struct Progress;
    std::shared_ptr<Progress> shared_;
};

}  // namespace rolecall::http
