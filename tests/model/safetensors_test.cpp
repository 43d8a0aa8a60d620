// The reader against files of the official library and against hostile ones; the writer against the reader.
#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "support/support.h"

namespace pan::model {
namespace {

using pan::testing::read_text;
using pan::testing::TempFolder;
using pan::testing::write_text;

std::string with_header(const std::string& header, const std::string& data) {
  uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + data;
}

// The message of the error that opening (and reading every tensor of) the bytes gives; empty where there is
// none.
std::string refusal(const std::string& bytes) {
  const TempFolder folder;
  write_text(folder / "x.safetensors", bytes);
  try {
    read_safetensors(folder / "x.safetensors");
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kData) << error.what();
    EXPECT_NE(std::string(error.what()).find("x.safetensors"), std::string::npos) << error.what();
    return error.what();
  }
  return "";
}

void expect_refused(const std::string& header, const std::string& data, const std::string& part_of_message) {
  const std::string message = refusal(with_header(header, data));
  EXPECT_NE(message.find(part_of_message), std::string::npos) << header << "\n -> " << message;
}

const std::string kFour(4, '\0');
const std::string kEight(8, '\0');

TEST(SafetensorsReader, ReadsWhatTheOfficialLibraryWrote) {
  const SafetensorsFile file(pan::testing::fixture("model/llama3_tied/model.safetensors"));
  const TensorInfo* info = file.find("model.layers.1.mlp.down_proj.weight");
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->shape, (std::vector<int64_t>{32, 48}));
  EXPECT_EQ(info->dtype, at::kFloat);
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}}));
  EXPECT_EQ(file.find("lm_head.weight"), nullptr);
  const at::Tensor tensor = file.load("model.norm.weight");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 64, 0u);
  EXPECT_NEAR(tensor.mean().item<double>(), 1.0, 0.2);
}

TEST(SafetensorsReader, AcceptsScalarsEmptyTensorsAndPaddedHeaders) {
  EXPECT_EQ(refusal(with_header("{}   ", "")), "");
  EXPECT_EQ(refusal(with_header(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", kFour)), "");
  EXPECT_EQ(refusal(with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                                R"("f":{"dtype":"I64","shape":[0],"data_offsets":[4,4]}})",
                                kFour)),
            "");
}

TEST(SafetensorsReader, RefusesBrokenHeaders) {
  EXPECT_NE(refusal(""), "");
  EXPECT_NE(refusal("1234567"), "");
  EXPECT_NE(refusal(std::string(8, '\xff') + "{}"), "");            // length of 2^64 - 1
  EXPECT_NE(refusal(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "");  // one byte more than there is
  EXPECT_NE(refusal(std::string(8, '\0')), "");                     // no header at all
  expect_refused("[]", "", "'{'");
  expect_refused(" {}", "", "'{'");
  expect_refused("{", "", "x.safetensors");
  expect_refused("{}x", "", "x.safetensors");
  expect_refused("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", kFour,
                 "x.safetensors");
  expect_refused(std::string(200000, '{'), "", "x.safetensors");
  expect_refused(R"({"__metadata__":{"a":1}})", "", "metadata");
  expect_refused(R"({"__metadata__":7})", "", "metadata");
}

TEST(SafetensorsReader, RefusesAnOversizedHeaderBeforeReadingIt) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  uint64_t length = 200'000'000;
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  write_text(path, bytes + "{");
  core::disk().truncate(path, 300'000'000);  // sparse: long enough for the header it claims
  try {
    const SafetensorsFile file(path);
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_NE(std::string(error.what()).find("100000000"), std::string::npos) << error.what();
  }
}

TEST(SafetensorsReader, RefusesBrokenEntriesNamingTheTensor) {
  const auto entry = [](const std::string& rest) { return "{\"w\":{" + rest + "}}"; };
  expect_refused(entry(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])"), kFour, "w");
  expect_refused(entry(R"("dtype":7,"shape":[1],"data_offsets":[0,4])"), kFour, "dtype");
  expect_refused(entry(R"("shape":[1],"data_offsets":[0,4])"), kFour, "dtype, shape and data_offsets");
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1)"), kFour, "nothing else");
  expect_refused(entry(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"), kFour, "shape");
  expect_refused(entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), kFour, "shape");
  expect_refused(entry(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), kFour, "shape");
  expect_refused(entry(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])"), kFour, "shape");
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), kFour, "data_offsets");
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), kFour, "data_offsets");
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,-4])"), kFour, "data_offsets");
  // A mis-typed tensor: the data of four bytes cannot be two bfloat16 numbers less or one float64.
  expect_refused(entry(R"("dtype":"BF16","shape":[1],"data_offsets":[0,4])"), kFour, "do not fit");
  expect_refused(entry(R"("dtype":"F64","shape":[1],"data_offsets":[0,4])"), kFour, "do not fit");
  // Products that overflow 64 bits, also where they would come back to the right size.
  expect_refused(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), "",
                 "overflow");
  expect_refused(entry(R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4])"), kFour,
                 "overflow");
  expect_refused(entry(R"("dtype":"F32","shape":[18446744073709551617],"data_offsets":[0,4])"), kFour,
                 "shape");
  expect_refused(R"({"w":[]})", "", "w");
}

TEST(SafetensorsReader, RefusesOverlapsHolesDuplicatesAndWrongFileLengths) {
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  expect_refused("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", kFour, "overlap");
  expect_refused("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", kEight, "overlap");
  expect_refused("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", kEight + kFour,
                 "hole");
  expect_refused("{" + a + "," + a + "}", kFour, "x.safetensors");
  expect_refused("{" + a + "}", kEight, "longer");
  expect_refused("{" + a + "}", "", "ends before");
  expect_refused(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551608,18446744073709551612]}})",
      kFour, "a");
}

TEST(SafetensorsReader, EveryTruncationOfARealFileIsRefused) {
  const std::string bytes = read_text(pan::testing::fixture("model/llama_bf16/model.safetensors"));
  const TempFolder folder;
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 16) {
    write_text(folder / "x.safetensors", bytes.substr(0, size));
    EXPECT_THROW(SafetensorsFile(folder / "x.safetensors"), core::Error) << size;
  }
}

TEST(SafetensorsReader, FlippedHeaderBytesNeverEscapeAsAnythingButAnError) {
  std::string bytes = read_text(pan::testing::fixture("model/llama_bf16/model.safetensors"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const TempFolder folder;
  int refused = 0, flips = 0;
  for (size_t at = 0; at < 8 + header; at += 7) {
    const char old = bytes[at];
    bytes[at] = static_cast<char>(old ^ (1 << (at % 8)));
    write_text(folder / "x.safetensors", bytes);
    ++flips;
    try {
      read_safetensors(folder / "x.safetensors");
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::kData) << error.what();
      ++refused;
    }
    bytes[at] = old;
  }
  EXPECT_GT(refused, flips / 3);  // the others only rename a tensor or a metadata text
}

TEST(SafetensorsReader, RefusesNotFiniteWeightsByName) {
  const TempFolder folder;
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    at::Tensor w = at::zeros({3000, 700});  // more than one chunk
    w[2999][699] = bad;
    write_safetensors(folder / "x.safetensors", {{"fine", at::ones({2})}, {"bad", w}});
    const SafetensorsFile file(folder / "x.safetensors");
    EXPECT_NO_THROW(file.load_into("bad", at::empty({3000, 700}), false));
    try {
      file.load_into("bad", at::empty({3000, 700}), true);
      FAIL();
    } catch (const core::Error& error) {
      EXPECT_EQ(error.pointer_text(), "bad");
    }
  }
}

TEST(SafetensorsWriter, RoundTripsTypesShapesAndMetadata) {
  const TempFolder folder;
  const NamedTensors tensors = {{"float", at::rand({3, 5})},
                                {"half", at::rand({7}).to(at::kHalf)},
                                {"view", at::rand({4, 6}).t()},
                                {"long", at::arange(9)},
                                {"bytes", at::arange(5).to(at::kByte)},
                                {"double", at::rand({2, 1, 2}, at::kDouble)},
                                {"flags", at::arange(3) > 0},
                                {"empty", at::empty({0, 3})},
                                {"scalar", at::scalar_tensor(2.5)},
                                {"long \"name\"\n", at::rand({1500000})}};
  const std::string path = folder / "x.safetensors";
  const std::string checksum = write_safetensors(path, tensors, {{"format", "pt"}, {"step", "12"}});
  EXPECT_EQ(checksum, core::crc32c_of_file(path));
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}, {"step", "12"}}));
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor again = file.load(name);
    EXPECT_EQ(again.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(again, tensor.contiguous())) << name;
  }
}

TEST(SafetensorsWriter, ConvertsOnlyFloatingTensors) {
  const TempFolder folder;
  const at::Tensor values = at::rand({100}), ids = at::arange(4);
  write_safetensors(folder / "x.safetensors", {{"values", values}, {"ids", ids}}, {}, at::kBFloat16);
  const SafetensorsFile file(folder / "x.safetensors");
  EXPECT_TRUE(at::equal(file.load("values"), values.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(file.load("ids"), ids));
}

TEST(SafetensorsWriter, ReportsADiskThatFails) {
  EXPECT_THROW(write_safetensors("/proc/no_such_folder/x.safetensors", {{"a", at::ones({2})}}), core::Error);
}

}  // namespace
}  // namespace pan::model
