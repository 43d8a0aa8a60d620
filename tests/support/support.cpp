#include "support/support.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace pan::testing {

std::string fixture(const std::string& name) { return source_path("tests/fixtures/" + name); }
// The tree it was built from, unless the environment names another (a binary carried to another machine).
std::string source_path(const std::string& name) {
  const char* other = std::getenv("PAN_SOURCE_DIR");
  return std::string(other != nullptr ? other : PAN_SOURCE_DIR) + "/" + name;
}

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "pan_test_XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + pattern);
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace pan::testing
