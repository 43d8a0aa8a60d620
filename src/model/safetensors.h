// Reader and writer of safetensors files. The reader trusts nothing in the file: every length, offset and
// type is checked before use, and data is copied into LibTorch's own aligned memory, never mapped (an 8-byte
// aligned tensor changes results).
//
//   model::SafetensorsFile file("model.safetensors");
//   at::Tensor w = file.load("model.norm.weight");
//   model::write_safetensors("state.safetensors", {{"w", w}}, {{"format", "pt"}});
//
// Format: 8 bytes little-endian header length, a JSON header, the tensors one after the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/file.h"

namespace pan::model {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
using Metadata = std::vector<std::pair<std::string, std::string>>;

struct TensorInfo {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes from the start of the file

  int64_t numel() const;
};

class SafetensorsFile {
 public:
  // Reads and checks the header. Errors: kData naming the file and the tensor (missing file, truncated,
  // oversized or broken header, unknown type, duplicate name, overlap, hole, trailing bytes, size that does
  // not fit shape and type).
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;
  SafetensorsFile(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in file order
  const Metadata& metadata() const { return metadata_; }
  const TensorInfo* find(const std::string& name) const;  // null where absent

  // The tensor as stored. Error: kData where absent.
  at::Tensor load(const std::string& name) const;
  // Fills `destination` (contiguous, of the stored shape, any floating type or the stored one, any device),
  // converting in chunks of 1 MiB. `require_finite` refuses NaN and infinite values, also ones made by
  // the conversion.
  void load_into(const std::string& name, at::Tensor destination, bool require_finite) const;

 private:
  void read_header();
  void read_at(uint64_t offset, void* out, size_t size, const std::string& what) const;

  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
  Metadata metadata_;
};

// All tensors of one file, in file order.
NamedTensors read_safetensors(const std::string& path);

// Streams the tensors into `path`, converted tensor by tensor to `dtype` where one is given (floating tensors
// only), syncs and closes it. Not atomic: write into a temporary folder and rename. Returns the CRC-32C of
// the file as 8 hex digits.
std::string write_safetensors(const std::string& path, const NamedTensors& tensors,
                              const Metadata& metadata = {},
                              std::optional<at::ScalarType> dtype = std::nullopt);

// The same through `path`.tmp: afterwards there is the old file or the whole new one.
void write_safetensors_atomic(const std::string& path, const NamedTensors& tensors);

}  // namespace pan::model
