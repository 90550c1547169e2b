#include "http/file_reader.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace rolecall::http {
namespace {

class FileReaderTest : public testing::Test {
 protected:
    FileReaderTest()
        : directory_(std::filesystem::temp_directory_path() / ("file_reader." + std::to_string(getpid()))) {
        std::filesystem::create_directory(directory_);
    }
    ~FileReaderTest() override { std::filesystem::remove_all(directory_); }

    std::string path(const std::string& name) const { return directory_ / name; }

    std::string file(const std::string& content) const {
        std::ofstream(path("file")) << content;
        return path("file");
    }

    static int error_of(const std::string& path) {
        const FileRead read(path, 100);
        pollfd waiting{.fd = read.fd(), .events = POLLIN, .revents = 0};
        EXPECT_EQ(poll(&waiting, 1, -1), 1);
        EXPECT_TRUE(read.is_done());
        EXPECT_FALSE(FileRead::is_stuck(path));
        return read.error();
    }

 private:
    std::filesystem::path directory_;
};

TEST_F(FileReaderTest, ReadsAFile) {
    const FileRead read(file("secret\n"), 100);
    pollfd waiting{.fd = read.fd(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&waiting, 1, -1), 1);
    EXPECT_EQ(read.error(), 0);
    EXPECT_EQ(read.content(), "secret\n");
}

TEST_F(FileReaderTest, ReadsLessThanTheLimit) {
    EXPECT_EQ(error_of(file(std::string(99, 'x'))), 0);
    EXPECT_EQ(error_of(file(std::string(100, 'x'))), EFBIG);
    std::filesystem::resize_file(file(""), std::uintmax_t{1} << 40);  // sparse
    EXPECT_EQ(error_of(path("file")), EFBIG);
}

TEST_F(FileReaderTest, TakesRegularFilesOnly) {
    ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
    EXPECT_EQ(error_of(path("pipe")), EINVAL);
    EXPECT_EQ(error_of("/dev/zero"), EINVAL);
    EXPECT_EQ(error_of("/"), EISDIR);
    EXPECT_EQ(error_of(path("nothing")), ENOENT);
    std::filesystem::create_symlink(path("pipe"), path("link"));
    EXPECT_EQ(error_of(path("link")), EINVAL);
    EXPECT_EQ(error_of("/proc/self/status"), EFBIG);  // which says that its size is 0
}

}  // namespace
}  // namespace rolecall::http
