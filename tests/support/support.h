// Helpers of the tests.
#pragma once

#include <string>

namespace pan::testing {

// tests/fixtures/<name> of the source tree.
std::string fixture(const std::string& name);
// A path inside the source tree.
std::string source_path(const std::string& name);

// A fresh folder, removed with its content at the end of its life.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write_text(const std::string& path, const std::string& text);
std::string read_text(const std::string& path);

}  // namespace pan::testing
