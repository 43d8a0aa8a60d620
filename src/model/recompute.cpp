#include "model/recompute.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "core/error.h"

namespace pan::model {
namespace {

using torch::autograd::variable_list;

// Gradients of x and the parameters from the gradient of the output, by running the part again.
struct Recompute : torch::autograd::Node {
  std::function<at::Tensor(const at::Tensor&)> part;
  at::Tensor x;
  std::vector<at::Tensor> parameters;

  variable_list apply(variable_list&& gradients) override {
    PAN_CHECK(part != nullptr, kInternal, "a recomputed part was differentiated twice");
    const at::AutoGradMode recording(true);
    const at::Tensor input = x.detach();
    input.set_requires_grad(task_should_compute_output(0));
    const at::Tensor output = part(input);
    variable_list wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i <= parameters.size(); ++i) {
      if (!task_should_compute_output(i)) continue;
      wanted.push_back(i == 0 ? input : parameters[i - 1]);
      places.push_back(i);
    }
    const variable_list found =
        torch::autograd::grad({output}, wanted, {gradients[0]}, std::nullopt, false, true);
    variable_list all(parameters.size() + 1);
    for (size_t i = 0; i < places.size(); ++i) all[places[i]] = found[i];
    return all;
  }

  void release_variables() override {
    part = nullptr;
    x.reset();
    parameters.clear();
  }
};

}  // namespace

at::Tensor recomputed(std::function<at::Tensor(const at::Tensor&)> part, const at::Tensor& x,
                      const std::vector<at::Tensor>& parameters) {
  const bool differentiable =
      x.requires_grad() || std::any_of(parameters.begin(), parameters.end(),
                                       [](const at::Tensor& p) { return p.requires_grad(); });
  if (!c10::GradMode::is_enabled() || !differentiable) return part(x);
  at::Tensor y;
  {
    c10::NoGradGuard no_grad;
    y = part(x);
  }
  auto node = std::shared_ptr<Recompute>(new Recompute(), torch::autograd::deleteNode);
  variable_list inputs{x};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  node->part = std::move(part);
  node->x = x.detach();
  node->parameters = parameters;
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace pan::model
