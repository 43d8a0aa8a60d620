#include "core/schema.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/nearest.h"

namespace pan::core {
namespace {

std::string short_number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, end.ptr);
}

std::string range_of(const Number& n) {
  const bool low = std::isfinite(n.min), high = std::isfinite(n.max);
  if (low && high) {
    return (n.exclusive_min ? "(" : "[") + short_number(n.min) + ", " + short_number(n.max) +
           (n.exclusive_max ? ")" : "]");
  }
  if (low) return (n.exclusive_min ? "> " : ">= ") + short_number(n.min);
  if (high) return (n.exclusive_max ? "< " : "<= ") + short_number(n.max);
  return "";
}

bool in_range(double v, const Number& n) {
  return (n.exclusive_min ? v > n.min : v >= n.min) && (n.exclusive_max ? v < n.max : v <= n.max);
}

std::string joined(const std::vector<std::string>& parts, const std::string& separator) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : separator) + part;
  return out;
}

std::string escaped(const std::string& key) {
  std::string out;
  for (char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

std::string shortened(const Json& json) {
  std::string text = dump_json(json);
  constexpr size_t kLongest = 60;
  return text.size() > kLongest ? text.substr(0, kLongest) + "..." : text;
}

class Reader : public Fields {
 public:
  Reader(const Describe& describe, const Json& json, const std::string& source,
         const std::function<int(const std::string&)>& line_of)
      : describe_(describe), source_(source), line_of_(line_of) {
    require(json.is_object(), "", "an object", json);
    levels_.push_back({&json, "", {}});
  }

  void finish() { check_keys(); }

  void number(const std::string& name, double& value, const Number& n) override {
    if (const Json* j = take(name)) value = number_in(*j, at(name), n);
  }
  void integer(const std::string& name, int64_t& value, const Number& n) override {
    if (const Json* j = take(name)) value = integer_in(*j, at(name), n);
  }
  void optional_number(const std::string& name, std::optional<double>& value, const Number& n) override {
    const Json* j = take(name);
    if (j == nullptr) return;
    value = j->is_null() ? std::nullopt : std::optional(number_in(*j, at(name), n, " or null"));
  }
  void optional_integer(const std::string& name, std::optional<int64_t>& value, const Number& n) override {
    const Json* j = take(name);
    if (j == nullptr) return;
    value = j->is_null() ? std::nullopt : std::optional(integer_in(*j, at(name), n, " or null"));
  }
  void boolean(const std::string& name, bool& value, const std::string&) override {
    const Json* j = take(name);
    if (j == nullptr) return;
    require(j->is_boolean(), at(name), "true or false", *j);
    value = j->get<bool>();
  }
  void text(const std::string& name, std::string& value, const Text&) override {
    if (const Json* j = take(name)) value = text_in(*j, at(name));
  }
  void text_list(const std::string& name, std::vector<std::string>& value, const Text&) override {
    const Json* j = take(name);
    if (j == nullptr) return;
    require(j->is_array(), at(name), "a list of texts", *j);
    std::vector<std::string> items;
    for (size_t i = 0; i < j->size(); ++i)
      items.push_back(text_in((*j)[i], at(name) + "/" + std::to_string(i)));
    value = std::move(items);
  }
  void integer_list(const std::string& name, std::vector<int64_t>& value, const Number& n) override {
    const Json* j = take(name);
    if (j == nullptr) return;
    require(j->is_array(), at(name), "a list of integers", *j);
    std::vector<int64_t> items;
    for (size_t i = 0; i < j->size(); ++i)
      items.push_back(integer_in((*j)[i], at(name) + "/" + std::to_string(i), n));
    value = std::move(items);
  }
  void choice_text(const std::string& name, const std::vector<std::string>& names,
                   const std::function<std::string()>&, const std::function<void(const std::string&)>& set,
                   const std::string&) override {
    const Json* j = take(name);
    if (j == nullptr) return;
    const std::string options = joined(names, " | ");
    require(j->is_string(), at(name), options, *j);
    const std::string chosen = j->get<std::string>();
    if (std::find(names.begin(), names.end(), chosen) == names.end()) {
      Error e = error("there is no such choice", at(name));
      e.expected(options).got(shortened(*j));
      const std::string near = nearest(chosen, names);
      if (!near.empty()) e.remedy("Did you mean \"" + near + "\"?");
      throw e;
    }
    set(chosen);
  }
  void json_text(const std::string& name, std::string& value, const std::string&) override {
    if (const Json* j = take(name)) value = dump_json(*j);
  }

 protected:
  void begin_object(const std::string& name, const std::string&) override {
    const Json* j = take(name);
    if (j != nullptr) require(j->is_object(), at(name), "an object", *j);
    levels_.push_back({j, at(name), {}});
  }
  bool entered() const override { return levels_.back().json != nullptr; }
  void end_object() override {
    check_keys();
    levels_.pop_back();
  }

 private:
  struct Level {
    const Json* json;  // null: the object is absent
    std::string pointer;
    std::vector<std::string> names;
  };

  std::string at(const std::string& name) const { return levels_.back().pointer + "/" + escaped(name); }

  const Json* take(const std::string& name) {
    Level& level = levels_.back();
    level.names.push_back(name);
    const auto it = level.json->find(name);
    return it == level.json->end() ? nullptr : &*it;
  }

  Error error(const std::string& what, const std::string& pointer) const {
    const int line = line_of_ ? line_of_(pointer) : 0;
    Error e(ErrorKind::kConfig, what);
    e.where(line == kFromOverride ? "--set" : source_);
    e.pointer((pointer.empty() ? "the top level" : pointer) +
              (line > 0 ? ", line " + std::to_string(line) : ""));
    e.remedy("Change the value" +
             (pointer.empty() ? std::string()
                              : "; `pan-ppo config explain " + pointer.substr(1) + "` says what it means"));
    return e;
  }

  void require(bool good, const std::string& pointer, const std::string& expected, const Json& got) const {
    if (good) return;
    Error e = error("a setting has the wrong type", pointer);
    throw e.expected(expected).got(shortened(got));
  }

  double number_in(const Json& j, const std::string& pointer, const Number& n,
                   const std::string& or_else = "") const {
    require(j.is_number(), pointer, "a number" + or_else, j);
    const double v = j.get<double>();
    check_range(v, j, pointer, n);
    return v;
  }

  int64_t integer_in(const Json& j, const std::string& pointer, const Number& n,
                     const std::string& or_else = "") const {
    bool good = j.is_number_integer() && !(j.is_number_unsigned() && j.get<uint64_t>() > uint64_t{INT64_MAX});
    if (j.is_number_float()) {  // 1e3 is an integer, 1.5 is not
      const double v = j.get<double>();
      good = v == std::floor(v) && std::abs(v) <= 0x1p53;
    }
    require(good, pointer, "an integer" + or_else, j);
    const int64_t v = j.get<int64_t>();
    check_range(static_cast<double>(v), j, pointer, n);
    return v;
  }

  void check_range(double v, const Json& j, const std::string& pointer, const Number& n) const {
    if (in_range(v, n)) return;
    Error e = error("a setting is out of range", pointer);
    throw e.expected(range_of(n) + (n.unit.empty() ? "" : " (" + n.unit + ")")).got(shortened(j));
  }

  std::string text_in(const Json& j, const std::string& pointer) const {
    if (!j.is_string()) {
      Error e = error("a setting has the wrong type", pointer);
      e.expected("text").got(shortened(j));
      if (j.is_primitive() && !j.is_null()) e.remedy("Put it in quotes: \"" + dump_json(j) + "\"");
      throw e;
    }
    return j.get<std::string>();
  }

  void check_keys() const {
    const Level& level = levels_.back();
    if (level.json == nullptr) return;
    for (const auto& [key, value] : level.json->items()) {
      if (std::find(level.names.begin(), level.names.end(), key) == level.names.end()) unknown(key);
    }
  }

  [[noreturn]] void unknown(const std::string& key) const {
    Error e = error("there is no such setting", at(key));
    const std::string near = nearest(key, levels_.back().names);
    std::vector<std::string> elsewhere;
    for (const FieldDoc& doc : explain_fields(describe_)) {
      if (doc.pointer.ends_with("/" + escaped(key))) elsewhere.push_back(doc.pointer);
    }
    std::string remedy;
    if (!near.empty()) remedy = "Did you mean \"" + near + "\"?";
    if (!elsewhere.empty())
      remedy += std::string(remedy.empty() ? "" : " ") + "It exists as " + joined(elsewhere, " and ");
    if (remedy.empty()) remedy = "Here are: " + joined(levels_.back().names, ", ");
    throw e.remedy(remedy);
  }

  const Describe& describe_;
  std::string source_;
  const std::function<int(const std::string&)>& line_of_;
  std::vector<Level> levels_;
};

class Printer : public Fields {
 public:
  Printer() { stack_.push_back(Json::object()); }
  Json take() { return std::move(stack_.front()); }

  void number(const std::string& name, double& value, const Number&) override { stack_.back()[name] = value; }
  void integer(const std::string& name, int64_t& value, const Number&) override {
    stack_.back()[name] = value;
  }
  void optional_number(const std::string& name, std::optional<double>& value, const Number&) override {
    stack_.back()[name] = value ? Json(*value) : Json(nullptr);
  }
  void optional_integer(const std::string& name, std::optional<int64_t>& value, const Number&) override {
    stack_.back()[name] = value ? Json(*value) : Json(nullptr);
  }
  void boolean(const std::string& name, bool& value, const std::string&) override {
    stack_.back()[name] = value;
  }
  void text(const std::string& name, std::string& value, const Text&) override {
    stack_.back()[name] = value;
  }
  void text_list(const std::string& name, std::vector<std::string>& value, const Text&) override {
    stack_.back()[name] = value;
  }
  void integer_list(const std::string& name, std::vector<int64_t>& value, const Number&) override {
    stack_.back()[name] = value;
  }
  void choice_text(const std::string& name, const std::vector<std::string>&,
                   const std::function<std::string()>& get, const std::function<void(const std::string&)>&,
                   const std::string&) override {
    stack_.back()[name] = get();
  }
  void json_text(const std::string& name, std::string& value, const std::string&) override {
    stack_.back()[name] = value.empty() ? Json(nullptr) : parse_json(value, name);
  }

 protected:
  void begin_object(const std::string& name, const std::string&) override {
    names_.push_back(name);
    stack_.push_back(Json::object());
  }
  void end_object() override {
    Json done = std::move(stack_.back());
    stack_.pop_back();
    stack_.back()[names_.back()] = std::move(done);
    names_.pop_back();
  }

 private:
  std::vector<Json> stack_;
  std::vector<std::string> names_;
};

class Explainer : public Fields {
 public:
  std::vector<FieldDoc> take() { return std::move(docs_); }

  void number(const std::string& name, double& value, const Number& n) override {
    add(name, "number", Json(value), range_of(n), n.unit, n.doc);
  }
  void integer(const std::string& name, int64_t& value, const Number& n) override {
    add(name, "integer", Json(value), range_of(n), n.unit, n.doc);
  }
  void optional_number(const std::string& name, std::optional<double>& value, const Number& n) override {
    add(name, "number or null", value ? Json(*value) : Json(nullptr), range_of(n), n.unit, n.doc);
  }
  void optional_integer(const std::string& name, std::optional<int64_t>& value, const Number& n) override {
    add(name, "integer or null", value ? Json(*value) : Json(nullptr), range_of(n), n.unit, n.doc);
  }
  void boolean(const std::string& name, bool& value, const std::string& doc) override {
    add(name, "boolean", Json(value), "", "", doc);
  }
  void text(const std::string& name, std::string& value, const Text& t) override {
    add(name, t.is_path ? "path" : "text", Json(value), "", "", t.doc);
  }
  void text_list(const std::string& name, std::vector<std::string>& value, const Text& t) override {
    add(name, t.is_path ? "list of paths" : "list of texts", Json(value), "", "", t.doc);
  }
  void integer_list(const std::string& name, std::vector<int64_t>& value, const Number& n) override {
    add(name, "list of integers", Json(value), range_of(n), n.unit, n.doc);
  }
  void choice_text(const std::string& name, const std::vector<std::string>& names,
                   const std::function<std::string()>& get, const std::function<void(const std::string&)>&,
                   const std::string& doc) override {
    add(name, "choice", Json(get()), joined(names, " | "), "", doc);
  }
  void json_text(const std::string& name, std::string& value, const std::string& doc) override {
    docs_.push_back({prefix_ + "/" + escaped(name), "JSON", value.empty() ? "null" : value, "", "", doc});
  }

 protected:
  void begin_object(const std::string& name, const std::string& doc) override {
    lengths_.push_back(prefix_.size());
    prefix_ += "/" + escaped(name);
    docs_.push_back({prefix_, "object", "", "", "", doc});
  }
  void end_object() override {
    prefix_.resize(lengths_.back());
    lengths_.pop_back();
  }

 private:
  void add(const std::string& name, const std::string& type, const Json& value, const std::string& range,
           const std::string& unit, const std::string& doc) {
    docs_.push_back({prefix_ + "/" + escaped(name), type, dump_json(value), range, unit, doc});
  }

  std::vector<FieldDoc> docs_;
  std::string prefix_;
  std::vector<size_t> lengths_;
};

Error override_error(const std::string& what, const std::string& assignment) {
  Error e(ErrorKind::kUsage, what);
  e.where("--set " + assignment).expected("--set some.setting=value");
  return e;
}

// The child of `node` called `part`, made where it is missing.
Json& child_of(Json& node, const std::string& part, const std::string& assignment) {
  if (node.is_array()) {
    size_t index = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (code != std::errc() || end != part.data() + part.size() || index > node.size()) {
      throw override_error("there is no such element in the list", assignment)
          .expected("an index up to " + std::to_string(node.size()) + " (which appends)")
          .got(part);
    }
    if (index == node.size()) node.push_back(nullptr);
    return node[index];
  }
  if (node.is_null()) node = Json::object();
  if (!node.is_object())
    throw override_error("the path leads through a plain value", assignment).got(shortened(node));
  return node[part];
}

}  // namespace

void read_fields(const Describe& describe, const Json& json, const std::string& source,
                 const std::function<int(const std::string&)>& line_of) {
  Reader reader(describe, json, source, line_of);
  describe(reader);
  reader.finish();
}

std::string apply_override(Json& tree, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) throw override_error("an override needs a value", assignment);
  const std::string path = assignment.substr(0, equals), value = assignment.substr(equals + 1);
  Json* node = &tree;
  std::string pointer;
  for (size_t start = 0; start <= path.size();) {
    const size_t dot = std::min(path.find('.', start), path.size());
    const std::string part = path.substr(start, dot - start);
    if (part.empty()) throw override_error("an override has an empty name in its path", assignment);
    node = &child_of(*node, part, assignment);
    pointer += "/" + escaped(part);
    start = dot + 1;
  }
  *node = Json::accept(value) ? parse_json(value, "--set " + path, JsonDialect::kWithComments) : Json(value);
  return pointer;
}

Json print_fields(const Describe& describe) {
  Printer printer;
  describe(printer);
  return printer.take();
}

std::vector<FieldDoc> explain_fields(const Describe& describe) {
  Explainer explainer;
  describe(explainer);
  return explainer.take();
}

}  // namespace pan::core
