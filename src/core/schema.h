// Configuration structs declared once: a struct's default member values are the only home of its defaults,
// and one function per struct names each field with its type, range, unit and documentation.
//
//   struct KlConfig { double coefficient = 0.001; KlEstimator estimator = KlEstimator::kK1; };
//   void describe(core::Fields& f, KlConfig& c) {
//     f.number("coefficient", c.coefficient, {.min = 0, .unit = "", .doc = "Weight of the KL penalty. 0 loads
//     no reference."}); f.choice("estimator", c.estimator, {{"k1", KlEstimator::kK1}, {"k2",
//     KlEstimator::kK2}}, "Estimator of KL.");
//   }
//   // nested:  f.object("kl", c.kl, "KL penalty.");      (finds describe(Fields&, KlConfig&) by argument
//   lookup)
//
// Readers (strict: unknown keys, wrong types and values out of range are errors of kind kConfig with the JSON
// pointer), printers and the explainer are visitors over the same declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pan::core {

struct Number {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool exclusive_min = false;  // value must be > min
  bool exclusive_max = false;  // value must be < max
  std::string unit = {};       // "token", "s", "sequence", ...
  std::string doc = {};
};

struct Text {
  std::string doc = {};
  bool is_path = false;
};

// Visitor over the fields of a struct.
class Fields {
 public:
  virtual ~Fields() = default;
  virtual void number(const std::string& name, double& value, const Number& n) = 0;
  virtual void integer(const std::string& name, int64_t& value, const Number& n) = 0;
  // null in JSON = no value
  virtual void optional_number(const std::string& name, std::optional<double>& value, const Number& n) = 0;
  virtual void optional_integer(const std::string& name, std::optional<int64_t>& value, const Number& n) = 0;
  virtual void boolean(const std::string& name, bool& value, const std::string& doc) = 0;
  virtual void text(const std::string& name, std::string& value, const Text& t) = 0;
  virtual void text_list(const std::string& name, std::vector<std::string>& value, const Text& t) = 0;
  virtual void integer_list(const std::string& name, std::vector<int64_t>& value, const Number& n) = 0;
  // A named choice; `get` returns the current name, `set` is called with one of `names`.
  virtual void choice_text(const std::string& name, const std::vector<std::string>& names,
                           const std::function<std::string()>& get,
                           const std::function<void(const std::string&)>& set, const std::string& doc) = 0;
  // Free-form JSON kept as compact text (few places: template arguments and the like).
  virtual void json_text(const std::string& name, std::string& value, const std::string& doc) = 0;

  template <class E>
  void choice(const std::string& name, E& value, const std::vector<std::pair<std::string, E>>& options,
              const std::string& doc) {
    std::vector<std::string> names;
    for (const auto& [n, v] : options) names.push_back(n);
    choice_text(
        name, names,
        [&]() -> std::string {
          for (const auto& [n, v] : options)
            if (v == value) return n;
          return "";
        },
        [&](const std::string& chosen) {
          for (const auto& [n, v] : options)
            if (n == chosen) value = v;
        },
        doc);
  }

  template <class S>
  void object(const std::string& name, S& value, const std::string& doc) {
    begin_object(name, doc);
    if (entered()) describe(*this, value);
    end_object();
  }

 protected:
  virtual void begin_object(const std::string& name, const std::string& doc) = 0;
  virtual bool entered() const { return true; }
  virtual void end_object() = 0;
};

using Describe = std::function<void(Fields&)>;

// What `line_of` below answers for a value that came from --set.
inline constexpr int kFromOverride = -1;

// Reads `json` (an object) strictly into the struct behind `describe`. Keys that are absent keep their value.
// `source` is what error messages name ("configs/x.json"); `line_of` maps a JSON pointer to a line number of
// the file, 0 = unknown, kFromOverride = the value came from --set, which is then named instead of `source`.
// Errors: kConfig, with pointer and line, the nearest valid key for an unknown one, type and range.
// A failed read may have changed some fields.
void read_fields(const Describe& describe, const nlohmann::ordered_json& json, const std::string& source,
                 const std::function<int(const std::string&)>& line_of = nullptr);

// Puts `--set a.b=v` onto a tree and returns the JSON pointer that was set ("/a/b"). `v` is parsed as JSON
// where it parses (numbers, true, null, ["x"], {"k": 1}) and is text otherwise. Missing objects on the way
// are made; a number as path element indexes an existing list, its length appends. Whether the path means
// anything is for read_fields. Errors: kUsage (no '=', empty path element, index outside the list, a path
// through a plain value).
std::string apply_override(nlohmann::ordered_json& tree, const std::string& assignment);

// The struct's present values as JSON, in declaration order.
nlohmann::ordered_json print_fields(const Describe& describe);

struct FieldDoc {
  std::string pointer;  // "/ppo/clip_low"
  std::string type;     // number, integer, boolean, text, choice, list of ..., object
  std::string value;    // the default, as JSON text
  std::string range;    // "(0, 1]", "k1 | k2 | k3", ""
  std::string unit;
  std::string doc = {};
};
std::vector<FieldDoc> explain_fields(const Describe& describe);

}  // namespace pan::core
