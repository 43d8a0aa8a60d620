#include "dist/group.h"

#include "core/error.h"

namespace pan::dist {
namespace {

class SingleProcess final : public Group {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  void all_reduce_sum(at::Tensor&) override {}
  void all_reduce_max(at::Tensor&) override {}
  void broadcast(at::Tensor&, int64_t from) override {
    PAN_CHECK(from == 0, kInternal, "broadcast from a rank that does not exist")
        .expected("0")
        .got(std::to_string(from));
  }
  double sum(double value) override { return value; }
  bool any(bool value) override { return value; }
  void barrier() override {}
};

}  // namespace

Group& single_process() {
  static SingleProcess group;
  return group;
}

}  // namespace pan::dist
