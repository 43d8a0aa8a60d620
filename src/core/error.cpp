#include "core/error.h"

#include <utility>

namespace pan::core {

Error::Error(ErrorKind kind, std::string what_happened) : kind_(kind), happened_(std::move(what_happened)) {
  rebuild();
}

void Error::rebuild() {
  text_ = happened_;
  if (!where_.empty() || !pointer_.empty()) {
    text_ += " (";
    if (!where_.empty()) text_ += "in " + where_;
    if (!where_.empty() && !pointer_.empty()) text_ += ", ";
    if (!pointer_.empty()) text_ += "at " + pointer_;
    text_ += ")";
  }
  if (!expected_.empty() || !got_.empty()) {
    text_ += ": ";
    if (!expected_.empty()) text_ += "expected " + expected_;
    if (!expected_.empty() && !got_.empty()) text_ += ", ";
    if (!got_.empty()) text_ += "got " + got_;
  }
  if (!remedy_.empty()) text_ += ". " + remedy_;
}

Error& Error::where(std::string text) {
  where_ = std::move(text);
  rebuild();
  return *this;
}
Error& Error::pointer(std::string text) {
  pointer_ = std::move(text);
  rebuild();
  return *this;
}
Error& Error::expected(std::string text) {
  expected_ = std::move(text);
  rebuild();
  return *this;
}
Error& Error::got(std::string text) {
  got_ = std::move(text);
  rebuild();
  return *this;
}
Error& Error::remedy(std::string text) {
  remedy_ = std::move(text);
  rebuild();
  return *this;
}

}  // namespace pan::core
