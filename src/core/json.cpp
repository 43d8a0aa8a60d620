#include "core/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace pan::core {
namespace {

constexpr size_t kMaxDepth = 256;

ErrorKind kind_of(JsonDialect dialect) {
  return dialect == JsonDialect::kWithComments ? ErrorKind::kConfig : ErrorKind::kData;
}

// "line 3, column 14" of a 0-based byte offset.
std::string position_of(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n') + 1;  // npos + 1 == 0
  return "line " + std::to_string(line) + ", column " + std::to_string(before.size() - start + 1);
}

std::string escape_pointer(const std::string& key) {
  std::string out;
  for (char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

// Input iterator that tells how far the lexer has read, which the library's SAX events do not.
class TrackedChar {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedChar(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  TrackedChar& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const TrackedChar& other) const { return at_ == other.at_; }
  bool operator!=(const TrackedChar& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// Builds the tree. The library's own builder looks every new key of an ordered object up from the start,
// which is quadratic (a tokenizer's vocabulary has 150,000 keys), and lets the last of two equal keys win.
class Builder {
 public:
  Builder(std::string_view text, const std::string& source, JsonDialect dialect)
      : text_(text), source_(source), dialect_(dialect) {}

  const char** furthest() { return &furthest_; }
  Json take() { return std::move(root_); }

  bool null() { return add(Json(nullptr)); }
  bool boolean(bool v) { return add(Json(v)); }
  bool number_integer(Json::number_integer_t v) { return add(Json(v)); }
  bool number_unsigned(Json::number_unsigned_t v) { return add(Json(v)); }
  bool number_float(Json::number_float_t v, const std::string&) { return add(Json(v)); }
  bool string(std::string& v) { return add(Json(std::move(v))); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) { return open(Json::object()); }
  bool end_object() { return close(); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_array() { return close(); }

  bool key(std::string& k) {
    Level& level = stack_.back();
    if (is_known(level, k)) {
      throw Error(kind_of(dialect_), "a key occurs twice in one object")
          .where(source_)
          .pointer(pointer() + "/" + escape_pointer(k) + ", " + position_of(text_, offset()))
          .remedy("Remove one of the two");
    }
    level.key = std::move(k);
    return true;
  }

  bool parse_error(size_t position, const std::string& token, const Json::exception& error) {
    std::string reason =
        error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: <reason>"
    const size_t colon = reason.find(": ");
    if (reason.find("parse error at") != std::string::npos && colon != std::string::npos) {
      reason = reason.substr(colon + 2);
    } else if (reason.find("out_of_range") != std::string::npos) {
      reason = "number " + token + " is beyond the range of a double";
    }
    throw Error(kind_of(dialect_), "not valid JSON")
        .where(source_)
        .pointer(position_of(text_, position == 0 ? 0 : position - 1))
        .expected(dialect_ == JsonDialect::kWithComments ? "JSON, with comments if you like" : "JSON")
        .got(reason)
        .remedy("Mend the text at that place (a comma, a quote or a bracket is the usual cause)");
  }

 private:
  struct Level {
    Json* node;
    std::string key;                        // of the value that comes next, in an object
    std::unordered_set<std::string> known;  // filled only for objects with many keys
  };

  static bool is_known(Level& level, const std::string& key) {
    constexpr size_t kFew = 16;
    const auto& object = level.node->get_ref<const Json::object_t&>();
    if (object.size() < kFew) {
      return std::any_of(object.begin(), object.end(), [&](const auto& entry) { return entry.first == key; });
    }
    if (level.known.empty()) {
      for (const auto& entry : object) level.known.insert(entry.first);
    }
    return !level.known.insert(key).second;
  }

  Json* place(Json&& value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = stack_.back();
    if (level.node->is_array()) {
      auto& list = level.node->get_ref<Json::array_t&>();
      list.push_back(std::move(value));
      return &list.back();
    }
    auto& object = level.node->get_ref<Json::object_t&>();
    object.emplace_back(std::move(level.key), std::move(value));
    return &object.back().second;
  }

  bool add(Json&& value) {
    place(std::move(value));
    return true;
  }

  // Pointers into the tree stay valid: a container grows only while it is the innermost open one.
  bool open(Json&& value) {
    if (stack_.size() >= kMaxDepth) {
      throw Error(kind_of(dialect_), "the JSON is nested too deeply")
          .where(source_)
          .pointer(position_of(text_, offset()))
          .expected("at most " + std::to_string(kMaxDepth) + " levels");
    }
    Json* node = place(std::move(value));
    stack_.push_back({node, {}, {}});
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  size_t offset() const {
    return furthest_ == nullptr ? 0 : static_cast<size_t>(furthest_ - text_.data()) - 1;
  }

  std::string pointer() const {
    std::string out;
    for (size_t i = 0; i + 1 < stack_.size(); ++i) {
      const Level& level = stack_[i];
      if (level.node->is_array()) {
        out += "/" + std::to_string(level.node->size() - 1);
      } else {
        out += "/" + escape_pointer(level.node->get_ref<const Json::object_t&>().back().first);
      }
    }
    return out;
  }

  std::string_view text_;
  const std::string& source_;
  JsonDialect dialect_;
  const char* furthest_ = nullptr;
  Json root_;
  std::vector<Level> stack_;
};

// Walks valid JSON text to the value of a pointer; anything unexpected ends the walk with line 0.
class LineFinder {
 public:
  LineFinder(std::string_view text, const std::string& pointer) : text_(text), wanted_(pointer) {}

  int find() {
    skip_space();
    value("");
    return line_;
  }

 private:
  bool done() const { return line_ != 0 || broken_ || at_ >= text_.size(); }

  void skip_space() {
    while (at_ < text_.size()) {
      const std::string_view rest = text_.substr(at_);
      if (rest.starts_with("//")) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (rest.starts_with("/*")) {
        const size_t end = text_.find("*/", at_ + 2);
        at_ = end == std::string_view::npos ? text_.size() : end + 2;
      } else if (std::string_view(" \t\r\n\xEF\xBB\xBF").find(rest[0]) != std::string_view::npos) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string string_token() {
    const size_t start = at_;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\') ++at_;
    }
    at_ = std::min(at_ + 1, text_.size());
    const Json parsed = Json::parse(text_.substr(start, at_ - start), nullptr, false);
    if (!parsed.is_string()) broken_ = true;
    return parsed.is_string() ? parsed.get<std::string>() : std::string();
  }

  void value(const std::string& pointer) {
    if (at_ >= text_.size()) return;
    if (pointer == wanted_) {
      line_ = static_cast<int>(
          1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n'));
      return;
    }
    if (text_[at_] == '{' || text_[at_] == '[') {
      if (++depth_ > kMaxDepth) broken_ = true;
      if (!broken_) members(pointer, text_[at_] == '{');
      --depth_;
    } else if (text_[at_] == '"') {
      string_token();
    } else {
      const size_t end = text_.find_first_of(",]} \t\r\n/", at_);
      broken_ |= end == at_;
      at_ = std::min(end, text_.size());
    }
  }

  void members(const std::string& pointer, bool object) {
    ++at_;
    for (size_t index = 0;; ++index) {
      skip_space();
      if (done()) return;
      if (text_[at_] == '}' || text_[at_] == ']') {
        ++at_;
        return;
      }
      std::string key = std::to_string(index);
      if (object) {
        if (text_[at_] != '"') broken_ = true;
        if (broken_) return;
        key = escape_pointer(string_token());
        skip_space();
        if (done() || text_[at_] != ':') return;
        ++at_;
        skip_space();
      }
      value(pointer + "/" + key);
      if (done()) return;
      skip_space();
      if (at_ < text_.size() && text_[at_] == ',') ++at_;
    }
  }

  std::string_view text_;
  const std::string& wanted_;
  size_t at_ = 0;
  size_t depth_ = 0;
  int line_ = 0;
  bool broken_ = false;
};

const Json* find(const Json& json, const std::string& pointer) {
  const Json::json_pointer p(pointer);
  return json.contains(p) ? &json.at(p) : nullptr;
}

template <class T>
struct Kind;
template <>
struct Kind<bool> {
  static constexpr const char* kName = "true or false";
  static bool fits(const Json& j) { return j.is_boolean(); }
};
template <>
struct Kind<double> {
  static constexpr const char* kName = "a number";
  static bool fits(const Json& j) { return j.is_number(); }
};
template <>
struct Kind<std::string> {
  static constexpr const char* kName = "text";
  static bool fits(const Json& j) { return j.is_string(); }
};
template <>
struct Kind<int64_t> {
  static constexpr const char* kName = "an integer";
  static bool fits(const Json& j) {
    if (j.is_number_unsigned()) return j.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    if (j.is_number_integer()) return true;
    if (!j.is_number_float()) return false;
    const double v = j.get<double>();
    return v == std::floor(v) && std::abs(v) <= 0x1p53;
  }
};

std::string shortened(const Json& json) {
  std::string text = dump_json(json);
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

template <class T>
T convert(const Json& value, const std::string& pointer, const std::string& source) {
  PAN_CHECK(Kind<T>::fits(value), kData, "a value has the wrong type")
      .where(source)
      .pointer(pointer)
      .expected(Kind<T>::kName)
      .got(shortened(value));
  return value.get<T>();
}

}  // namespace

Json parse_json(std::string_view text, const std::string& source, JsonDialect dialect) {
  const size_t nul = text.find('\0');  // which the library takes for the end of the text
  if (nul != std::string_view::npos) {
    throw Error(kind_of(dialect), "a NUL byte in the JSON").where(source).pointer(position_of(text, nul));
  }
  Builder builder(text, source, dialect);
  const TrackedChar first(text.data(), builder.furthest());
  const TrackedChar last(text.data() + text.size(), builder.furthest());
  Json::sax_parse(first, last, &builder, nlohmann::detail::input_format_t::json, /*strict=*/true,
                  /*ignore_comments=*/dialect == JsonDialect::kWithComments);
  return builder.take();
}

Json read_json_file(const std::string& path, JsonDialect dialect) {
  if (dialect == JsonDialect::kWithComments) {
    PAN_CHECK(exists(path), kConfig, "the file does not exist")
        .where(path)
        .expected("a file")
        .got("nothing of that name")
        .remedy("Check the path");
    PAN_CHECK(!is_folder(path), kConfig, "a folder was given where a file is needed")
        .where(path)
        .expected("a file")
        .got("a folder")
        .remedy("Name a file in it");
  }
  return parse_json(read_file(path), path, dialect);
}

int line_of_pointer(std::string_view text, const std::string& pointer) {
  return LineFinder(text, pointer).find();
}

template <class T>
T get_required(const Json& json, const std::string& pointer, const std::string& source) {
  const Json* value = find(json, pointer);
  PAN_CHECK(value != nullptr, kData, "a value is missing")
      .where(source)
      .pointer(pointer)
      .expected(Kind<T>::kName);
  return convert<T>(*value, pointer, source);
}

template <class T>
T get_or(const Json& json, const std::string& pointer, const std::string& source, T fallback) {
  const Json* value = find(json, pointer);
  return value == nullptr || value->is_null() ? fallback : convert<T>(*value, pointer, source);
}

template int64_t get_required<int64_t>(const Json&, const std::string&, const std::string&);
template double get_required<double>(const Json&, const std::string&, const std::string&);
template bool get_required<bool>(const Json&, const std::string&, const std::string&);
template std::string get_required<std::string>(const Json&, const std::string&, const std::string&);
template int64_t get_or<int64_t>(const Json&, const std::string&, const std::string&, int64_t);
template double get_or<double>(const Json&, const std::string&, const std::string&, double);
template bool get_or<bool>(const Json&, const std::string&, const std::string&, bool);
template std::string get_or<std::string>(const Json&, const std::string&, const std::string&, std::string);

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace pan::core
