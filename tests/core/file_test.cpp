#include "core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "support/support.h"

namespace pan::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::read_text;
using testing::TempFolder;
using testing::write_text;

TEST(File, WriteAppendTruncate) {
  const TempFolder folder;
  const std::string path = folder / "a";
  auto w = disk().create(path);
  w->write("hello", 5);
  w->sync();
  w->close();
  auto more = disk().append(path);
  more->write(" world", 6);
  more->close();
  EXPECT_EQ(read_file(path), "hello world");
  disk().truncate(path, 4);
  EXPECT_EQ(read_file(path), "hell");
  EXPECT_EQ(file_size(path), 4u);
  disk().create(path)->close();
  EXPECT_EQ(file_size(path), 0u);
}

TEST(File, AtomicWriteReplacesAndLeavesNothingBehind) {
  const TempFolder folder;
  write_file_atomic(disk(), folder / "a", "one");
  write_file_atomic(disk(), folder / "a", "two");
  EXPECT_EQ(read_text(folder / "a"), "two");
  EXPECT_THAT(list_folder(folder.path()), ElementsAre("a"));
}

TEST(File, SymlinkIsReplaced) {
  const TempFolder folder;
  disk().make_folders(folder / "x/y");
  disk().symlink("x", folder / "latest");
  disk().symlink("x/y", folder / "latest");
  EXPECT_EQ(std::filesystem::read_symlink(folder / "latest"), "x/y");
  EXPECT_THAT(list_folder(folder.path()), ElementsAre("latest", "x"));
  disk().sync_folder(folder.path());
  disk().remove_all(folder / "x");
  EXPECT_FALSE(exists(folder / "x"));
}

TEST(File, ErrorsNamePathAndReason) {
  const TempFolder folder;
  const std::string missing = folder / "no/such";
  for (const auto& action : std::vector<std::function<void()>>{
           [&] { disk().create(missing); }, [&] { disk().append(missing); },
           [&] { disk().rename(missing, folder / "b"); }, [&] { disk().truncate(missing, 0); },
           [&] { disk().sync_folder(missing); }, [&] { disk().symlink("x", missing); },
           [&] { disk().free_bytes(missing); }}) {
    try {
      action();
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kIo);
      EXPECT_THAT(e.what(), HasSubstr(folder.path()));
      EXPECT_THAT(e.what(), HasSubstr("No such file"));
    }
  }
  try {
    read_file(missing);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kData);
  }
  EXPECT_THROW(read_file(folder.path()), Error);
}

TEST(File, FullDeviceIsAnIoErrorWithARemedy) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  auto w = disk().append("/dev/full");
  try {
    w->write("x", 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kIo);
    EXPECT_THAT(e.what(), HasSubstr("No space left"));
    EXPECT_THAT(e.remedy_text(), HasSubstr("space"));
  }
}

TEST(File, FindsTheNearestFolderThatExists) {
  const TempFolder folder;
  EXPECT_EQ(nearest_existing(folder / "a/b"), (folder / "a").substr(0, (folder / "a").size() - 2));
  EXPECT_EQ(nearest_existing("no_such_folder/b"), ".");
  EXPECT_EQ(nearest_existing("/no_such_folder/b"), "/");
  EXPECT_EQ(nearest_existing(""), ".");
}

TEST(File, FreeBytesIsPlausible) { EXPECT_GT(disk().free_bytes("."), 0u); }

std::string crc_of(std::string_view bytes) {
  Crc32c crc;
  crc.update(bytes.data(), bytes.size());
  return crc.hex();
}

// Test vectors of RFC 3720, appendix B.4 (written there in byte order), and the "check" value of the CRC
// catalogues.
TEST(Crc32c, PublishedVectors) {
  std::string up(32, '\0'), down(32, '\0');
  for (size_t i = 0; i < 32; ++i) up[i] = static_cast<char>(i), down[i] = static_cast<char>(31 - i);
  EXPECT_EQ(crc_of(std::string(32, '\0')), "8a9136aa");
  EXPECT_EQ(crc_of(std::string(32, '\xff')), "62a8ab43");
  EXPECT_EQ(crc_of(up), "46dd794e");
  EXPECT_EQ(crc_of(down), "113fdb5c");
  EXPECT_EQ(crc_of("123456789"), "e3069283");
  EXPECT_EQ(crc_of(""), "00000000");
}

TEST(Crc32c, PortableEqualsInstructionForEverySizeAndSplit) {
  std::string bytes(100, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37 + 11);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    Crc32c whole, split;
    whole.update(bytes.data(), size);
    split.update(bytes.data(), size / 3);
    split.update(bytes.data() + size / 3, size - size / 3);
    EXPECT_EQ(whole.value(), crc32c_portable(bytes.data(), size)) << size;
    EXPECT_EQ(whole.value(), split.value()) << size;
  }
}

TEST(Crc32c, OfAFile) {
  const TempFolder folder;
  write_text(folder / "a", "123456789");
  EXPECT_EQ(crc32c_of_file(folder / "a"), "e3069283");
  EXPECT_THROW(crc32c_of_file(folder / "b"), Error);
}

// FIPS 180-4 examples, and lengths around the padding's edge against sha256sum.
TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(sha256(std::string(55, 'x')), "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  EXPECT_EQ(sha256(std::string(56, 'x')), "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
  EXPECT_EQ(sha256(std::string(63, 'x')), "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2");
  EXPECT_EQ(sha256(std::string(64, 'x')), "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  EXPECT_EQ(sha256(std::string(119, 'x')),
            "000b48d4edf0fa7bee3c6236ecd2785baa5db4eeb8bb54341b029e0d9fa5fb0c");
}

TEST(FolderLock, SecondHolderIsRefusedAndNamed) {
  const TempFolder folder;
  {
    const FolderLock lock(folder.path());
    try {
      const FolderLock second(folder.path());
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kConfig);
      EXPECT_THAT(e.what(), HasSubstr("process " + std::to_string(getpid())));
      EXPECT_THAT(e.what(), HasSubstr(folder.path()));
    }
  }
  EXPECT_NO_THROW(FolderLock(folder.path()));
}

TEST(FolderLock, DiesWithItsProcess) {
  const TempFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    _exit(0);  // without unlocking
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_NO_THROW(FolderLock(folder.path()));
}

}  // namespace
}  // namespace pan::core
