// ContextPool: the working memory of a compression library, kept for the next call. There are never more of them than
// calls were under way at once.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace varve::inline v0::compress {

// `Free` is the library's function that frees a Context.
template <class Context, auto Free>
class ContextPool {
 public:
  struct Deleter {
    void operator()(Context* context) const noexcept { (void)Free(context); }
  };
  using Owner = std::unique_ptr<Context, Deleter>;

  // Takes one that is kept; null: there is none.
  Owner take() {
    const std::lock_guard lock(mutex_);
    if (kept_.empty()) return nullptr;
    Owner context = std::move(kept_.back());
    kept_.pop_back();
    return context;
  }

  void give_back(Owner context) {
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(context));
  }

 private:
  std::mutex mutex_;
  std::vector<Owner> kept_;
};

}  // namespace varve::inline v0::compress
