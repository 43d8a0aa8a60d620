#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"

namespace pan::model {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kChunkBytes = 1u << 20;

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr TypeName kTypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool},
};

// Without a temporary of the tensor's size; NaN is carried through both.
bool all_finite(const at::Tensor& tensor) {
  const auto [low, high] = at::aminmax(tensor);
  return std::isfinite(low.item<double>()) && std::isfinite(high.item<double>());
}

std::optional<at::ScalarType> type_of(const std::string& name) {
  for (const TypeName& entry : kTypes)
    if (name == entry.name) return entry.type;
  return std::nullopt;
}

const char* name_of(at::ScalarType type) {
  for (const TypeName& entry : kTypes)
    if (type == entry.type) return entry.name;
  return nullptr;
}

std::string supported_types() {
  std::string names;
  for (const TypeName& entry : kTypes) names += (names.empty() ? "" : ", ") + std::string(entry.name);
  return names;
}

core::Error broken(const std::string& path, const std::string& tensor, const std::string& what) {
  core::Error error(core::ErrorKind::kData, what);
  error.where(path).remedy("The file is damaged or not a safetensors file: fetch or write it again");
  if (!tensor.empty()) error.pointer(tensor);
  return error;
}

// A non-negative JSON integer; nlohmann keeps integers beyond 64 bits as floats, which are refused here.
std::optional<uint64_t> unsigned_of(const core::Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return std::nullopt;
}

// Parses one entry of the header; begin and end are still relative to the data.
TensorInfo parse_entry(const std::string& path, const std::string& name, const core::Json& entry) {
  TensorInfo info;
  info.name = name;
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    throw broken(path, name, "a tensor's entry must hold dtype, shape and data_offsets, nothing else");
  const core::Json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
  if (!dtype.is_string()) throw broken(path, name, "a tensor's dtype is not text");
  const auto type = type_of(dtype.get<std::string>());
  if (!type)
    throw broken(path, name, "a tensor has a type that is not supported")
        .expected(supported_types())
        .got(dtype.get<std::string>());
  info.dtype = *type;
  if (!shape.is_array() || !offsets.is_array() || offsets.size() != 2)
    throw broken(path, name, "a tensor's shape or data_offsets is not a list of the right length");
  uint64_t bytes = c10::elementSize(info.dtype);
  for (const core::Json& size : shape) {
    const auto value = unsigned_of(size);
    if (!value)
      throw broken(path, name, "a tensor's shape holds something other than sizes").got(shape.dump());
    if (*value > static_cast<uint64_t>(INT64_MAX) || __builtin_mul_overflow(bytes, *value, &bytes))
      throw broken(path, name, "a tensor's shape overflows").got(shape.dump());
    info.shape.push_back(static_cast<int64_t>(*value));
  }
  const auto begin = unsigned_of(offsets[0]), end = unsigned_of(offsets[1]);
  if (!begin || !end || *end < *begin)
    throw broken(path, name, "a tensor's data_offsets are not a range").got(offsets.dump());
  if (*end - *begin != bytes)
    throw broken(path, name, "a tensor's shape and type do not fit its data")
        .expected(std::to_string(bytes) + " bytes for " + dtype.get<std::string>() + " " + shape.dump())
        .got(std::to_string(*end - *begin) + " bytes");
  info.begin = *begin;
  info.end = *end;
  return info;
}

}  // namespace

int64_t TensorInfo::numel() const {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    const int reason = errno;
    throw core::Error(reason == ENOENT ? core::ErrorKind::kData : core::ErrorKind::kIo,
                      "the file cannot be opened")
        .where(path)
        .expected("a safetensors file that this user may read")
        .got(std::strerror(reason))
        .remedy(reason == ENOENT ? "Check the path, or fetch the model again" : "Check the permissions");
  }
  try {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode))
      throw broken(path_, "", "not a regular file")
          .expected("a safetensors file")
          .got(S_ISDIR(status.st_mode) ? "a folder" : "a pipe, socket or device");
    size_ = static_cast<uint64_t>(status.st_size);
    read_header();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      tensors_(std::move(other.tensors_)),
      index_(std::move(other.index_)),
      metadata_(std::move(other.metadata_)) {}

SafetensorsFile::~SafetensorsFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SafetensorsFile::read_at(uint64_t offset, void* out, size_t size, const std::string& what) const {
  char* destination = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = ::pread(descriptor_, destination, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      throw core::Error(core::ErrorKind::kIo, "the file cannot be read")
          .where(path_)
          .pointer(what)
          .got(std::strerror(errno));
    if (got == 0) throw broken(path_, what, "the file ends too early");
    destination += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
}

void SafetensorsFile::read_header() {
  uint64_t length = 0;
  if (size_ < sizeof length)
    throw broken(path_, "", "the file is shorter than a header's length")
        .expected("at least 8 bytes")
        .got(std::to_string(size_));
  read_at(0, &length, sizeof length, "header");
  if (length > kMaxHeaderBytes || length > size_ - sizeof length)
    throw broken(path_, "header", "the header's length does not fit the file")
        .expected("at most " + std::to_string(std::min(kMaxHeaderBytes, size_ - sizeof length)) + " bytes")
        .got(std::to_string(length));
  std::string text(length, '\0');
  read_at(sizeof length, text.data(), length, "header");
  if (text.empty() || text.front() != '{')
    throw broken(path_, "header", "the header does not start with '{'");

  const core::Json header = core::parse_json(text, path_);
  if (!header.is_object()) throw broken(path_, "header", "the header is not a JSON object");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) throw broken(path_, name, "the metadata is not an object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string())
          throw broken(path_, name, "the metadata holds something other than text").got(key);
        metadata_.emplace_back(key, value.get<std::string>());
      }
      continue;
    }
    tensors_.push_back(parse_entry(path_, name, entry));
  }

  // Stable: empty tensors share their offset with what follows them.
  std::stable_sort(tensors_.begin(), tensors_.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  const uint64_t data = sizeof length + length;
  uint64_t position = 0;
  for (TensorInfo& info : tensors_) {
    if (info.begin != position)
      throw broken(
          path_, info.name,
          info.begin < position ? "a tensor's data overlaps another's" : "a hole before a tensor's data")
          .expected("data from byte " + std::to_string(position))
          .got(std::to_string(info.begin));
    position = info.end;
    if (position > size_ - data)
      throw broken(path_, info.name, "the file ends before a tensor's data does")
          .expected(std::to_string(position) + " bytes of data")
          .got(std::to_string(size_ - data));
    info.begin += data;
    info.end += data;
    index_.emplace(info.name, index_.size());
  }
  if (position != size_ - data)
    throw broken(path_, "", "the file is longer than its tensors")
        .expected(std::to_string(data + position) + " bytes")
        .got(std::to_string(size_));
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

at::Tensor SafetensorsFile::load(const std::string& name) const {
  const TensorInfo* info = find(name);
  PAN_CHECK(info != nullptr, kData, "a tensor is missing").where(path_).pointer(name);
  at::Tensor tensor = at::empty(info->shape, info->dtype);
  read_at(info->begin, tensor.data_ptr(), info->end - info->begin, name);
  return tensor;
}

void SafetensorsFile::load_into(const std::string& name, at::Tensor destination, bool require_finite) const {
  const TensorInfo* info = find(name);
  PAN_CHECK(info != nullptr, kData, "a tensor is missing").where(path_).pointer(name);
  PAN_CHECK(destination.is_contiguous() && destination.sizes() == at::IntArrayRef(info->shape), kInternal,
            "a tensor is loaded into one of another shape")
      .pointer(name);
  c10::NoGradGuard no_grad;
  at::Tensor flat = destination.view({-1});
  const auto item = static_cast<int64_t>(c10::elementSize(info->dtype));
  const int64_t total = info->numel(), chunk = static_cast<int64_t>(kChunkBytes) / item;
  at::Tensor buffer = at::empty({std::min(total, chunk)}, info->dtype);
  for (int64_t done = 0; done < total; done += chunk) {
    const int64_t count = std::min(chunk, total - done);
    read_at(info->begin + static_cast<uint64_t>(done * item), buffer.data_ptr(),
            static_cast<size_t>(count * item), name);
    at::Tensor part = flat.narrow(0, done, count);
    part.copy_(buffer.narrow(0, 0, count));
    PAN_CHECK(!require_finite || all_finite(part), kData, "a weight is not finite")
        .where(path_)
        .pointer(name)
        .expected("finite numbers in " + std::string(c10::toString(destination.scalar_type())))
        .got("NaN or infinity")
        .remedy("The model is damaged, or its values do not fit the compute type");
  }
}

NamedTensors read_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  NamedTensors tensors;
  for (const TensorInfo& info : file.tensors()) tensors.emplace_back(info.name, file.load(info.name));
  return tensors;
}

std::string write_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata,
                              std::optional<at::ScalarType> dtype) {
  core::Json header = core::Json::object();
  if (!metadata.empty()) {
    core::Json entry = core::Json::object();
    for (const auto& [key, value] : metadata) entry[key] = value;
    header["__metadata__"] = entry;
  }
  const auto stored_type = [&](const at::Tensor& tensor) {
    return dtype && at::isFloatingType(tensor.scalar_type()) ? *dtype : tensor.scalar_type();
  };
  uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    const at::ScalarType type = stored_type(tensor);
    PAN_CHECK(name_of(type) != nullptr, kInternal, "a tensor's type cannot be written")
        .where(path)
        .pointer(name);
    PAN_CHECK(!header.contains(name) && name != "__metadata__", kInternal, "two tensors have one name")
        .where(path)
        .pointer(name);
    const uint64_t bytes = static_cast<uint64_t>(tensor.numel()) * c10::elementSize(type);
    header[name] = {{"dtype", name_of(type)},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {position, position + bytes}}};
    position += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data starts at a multiple of 8 bytes

  core::Crc32c checksum;
  const auto file = core::disk().create(path);
  const auto write = [&](const void* data, size_t size) {
    checksum.update(data, size);
    file->write(data, size);
  };
  const uint64_t length = text.size();
  write(&length, sizeof length);
  write(text.data(), text.size());
  c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor flat = tensor.detach().reshape({-1});
    const at::ScalarType type = stored_type(tensor);
    const auto item = static_cast<int64_t>(c10::elementSize(type));
    const int64_t chunk = static_cast<int64_t>(kChunkBytes) / item;
    for (int64_t done = 0; done < flat.numel(); done += chunk) {
      const int64_t count = std::min(chunk, flat.numel() - done);
      const at::Tensor part = flat.narrow(0, done, count).to(at::kCPU, type).contiguous();
      write(part.const_data_ptr(), static_cast<size_t>(count * item));
    }
  }
  file->sync();
  file->close();
  return checksum.hex();
}

void write_safetensors_atomic(const std::string& path, const NamedTensors& tensors) {
  core::Disk& disk = core::disk();
  const std::string temporary = path + ".tmp";
  write_safetensors(temporary, tensors);
  disk.rename(temporary, path);
  const size_t slash = path.find_last_of('/');
  disk.sync_folder(slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash));
}

}  // namespace pan::model
