// Reads a small file for somebody who must not be held up by it: whatever the name leads to (a pipe, a
// device, a mount whose server is gone), it is opened and read by a thread that can be left behind. All
// signals are blocked there.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace rolecall::http {

/// What is read of one file. Left behind by its destructor, with the thread, if that is not done.
class FileRead {
 public:
    /// Begins to read a file of less than `limit` bytes. Throws std::runtime_error where no thread, or no
    /// descriptor to wait with, is to be had.
    FileRead(const std::string& path, std::size_t limit);
    ~FileRead();
    FileRead(const FileRead&) = delete;
    FileRead& operator=(const FileRead&) = delete;

    /// Becomes readable when it is done.
    int fd() const;

    bool is_done() const;

    /// 0, or errno: EINPROGRESS until it is done, EINVAL where it is no regular file, EFBIG where it is too
    /// large.
    int error() const;

    /// When error() is 0, and not before that was asked. Forgotten with this.
    const std::string& content() const;

    /// Is a thread that was left behind still at this file? One is enough.
    static bool is_stuck(const std::string& path);

 private:
    struct Progress;
    std::shared_ptr<Progress> shared_;
};

}  // namespace rolecall::http
