// The ranks of a data-parallel run behind five calls. For now there is one process: rank 0 of 1, where every
// call is the identity. Code that will run on several ranks is written against this interface already, so
// that a multi-process group (c10d) can be put behind it without touching the callers.
//
//   dist::Group& group = dist::single_process();
//   group.all_reduce_sum(gradient);                  // in place
//   if (group.any(stop_here)) break;                 // every rank takes the same branch
//
// All calls are collective: each rank makes the same calls in the same order, or the run waits until the time
// limit.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pan::dist {

class Group {
 public:
  virtual ~Group() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  virtual void all_reduce_sum(at::Tensor& tensor) = 0;  // in place
  virtual void all_reduce_max(at::Tensor& tensor) = 0;  // in place
  virtual void broadcast(at::Tensor& tensor, int64_t from) = 0;
  virtual double sum(double value) = 0;  // float64, the same bits on every rank
  virtual bool any(bool value) = 0;      // true where one rank says true
  virtual void barrier() = 0;
};

// Rank 0 of 1.
Group& single_process();

}  // namespace pan::dist
