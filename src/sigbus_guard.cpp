#include "sigbus_guard.hpp"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace varve::inline v0::detail {

// One guarded range. The handler may look at it at any time, on any thread, so everything it reads
// is atomic and a slot's memory is never given back.
struct SigbusGuard::Slot {
  std::atomic<std::uint64_t> version{0};  // odd while the range is being changed
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> faulted{false};
  bool taken = false;  // guarded by registry_mutex

  void set(std::uintptr_t new_begin, std::uintptr_t new_end) noexcept {
    version.fetch_add(1);
    begin.store(new_begin);
    end.store(new_end);
    version.fetch_add(1);
  }

  // A slot that changes meanwhile is not the one that was hit: nobody may use a mapping whose guard
  // is being made or destroyed. So there is nothing to wait for, which a handler must not do.
  bool holds(std::uintptr_t address) const noexcept {
    const std::uint64_t before = version.load();
    const bool inside = begin.load() <= address && address < end.load();
    return inside && before % 2 == 0 && version.load() == before;
  }
};

namespace {

using Slot = SigbusGuard::Slot;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);
static_assert(std::atomic<bool>::is_always_lock_free);

struct Chunk {
  std::array<Slot, 64> slots{};
  std::atomic<Chunk*> next{nullptr};
};

// All of these are used by the handler until the very end of the process, so none has a destructor.
constinit Chunk first_chunk;
constinit std::mutex registry_mutex;
constinit std::uintptr_t page_bytes = 0;  // written before the handler is installed; 0: not yet
constinit struct sigaction previous_action {};
constinit std::atomic<bool> previous_spent{false};  // it asked for SA_RESETHAND and was called

Slot* find_slot(std::uintptr_t address) noexcept {
  for (Chunk* chunk = &first_chunk; chunk != nullptr; chunk = chunk->next.load()) {
    for (Slot& slot : chunk->slots) {
      if (slot.holds(address)) return &slot;
    }
  }
  return nullptr;
}

// Whether the signal stands for an access of this very thread, rather than being sent by somebody.
bool is_synchronous(const siginfo_t& info) noexcept {
  return info.si_code == BUS_ADRALN || info.si_code == BUS_ADRERR || info.si_code == BUS_OBJERR ||
         info.si_code == BUS_MCEERR_AR;
}

bool replace_page(const siginfo_t& info) noexcept {
  if (!is_synchronous(info) || info.si_code == BUS_ADRALN) return false;
  const auto address = reinterpret_cast<std::uintptr_t>(info.si_addr);
  Slot* const slot = find_slot(address);
  if (slot == nullptr) return false;
  // The flag comes first: no other thread may read the zeros without seeing it.
  slot->faulted.store(true);
  void* const page = reinterpret_cast<void*>(address - address % page_bytes);
  return ::mmap(page, page_bytes, PROT_READ | PROT_WRITE,
                MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

void pass_on(int signal, siginfo_t* info, void* context) noexcept {
  const struct sigaction& previous = previous_action;
  const bool spent =
      (previous.sa_flags & static_cast<int>(SA_RESETHAND)) != 0 && previous_spent.exchange(true);
  if (!spent) {
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
      return previous.sa_sigaction(signal, info, context);
    }
    if (previous.sa_handler == SIG_IGN && !is_synchronous(*info)) return;
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
      return previous.sa_handler(signal);
    }
  }
  // Repeating the access meets the default action; a signal that was sent must be sent once more.
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGBUS, &action, nullptr);
  if (!is_synchronous(*info)) ::raise(signal);
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  if (!replace_page(*info)) pass_on(signal, info, context);
  errno = saved_errno;
}

// The handler stays until the process ends, so whatever library or plugin holds its code must.
void stay_loaded() noexcept {
  Dl_info self{};
  if (::dladdr(reinterpret_cast<void*>(&on_sigbus), &self) != 0 && self.dli_fname != nullptr)
    (void)::dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

void install_handler() noexcept {
  stay_loaded();
  page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  ::sigaction(SIGBUS, nullptr, &previous_action);
  struct sigaction action {};
  action.sa_sigaction = &on_sigbus;
  action.sa_mask = previous_action.sa_mask;
  action.sa_flags =
      SA_SIGINFO | SA_ONSTACK | (previous_action.sa_flags & (SA_RESTART | SA_NODEFER));
  ::sigaction(SIGBUS, &action, nullptr);
}

Slot* take_slot() {
  const std::lock_guard lock(registry_mutex);
  if (page_bytes == 0) install_handler();
  for (Chunk* chunk = &first_chunk;;) {
    for (Slot& slot : chunk->slots) {
      if (slot.taken) continue;
      slot.taken = true;
      return &slot;
    }
    Chunk* next = chunk->next.load();
    if (next == nullptr) {
      next = new Chunk;
      chunk->next.store(next);
    }
    chunk = next;
  }
}

}  // namespace

SigbusGuard::SigbusGuard(const void* begin, std::size_t bytes) : slot_(take_slot()) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::uintptr_t rounded = (bytes + page_bytes - 1) / page_bytes * page_bytes;
  slot_->faulted.store(false);
  slot_->set(address, address + rounded);
}

SigbusGuard::~SigbusGuard() {
  slot_->set(0, 0);
  const std::lock_guard lock(registry_mutex);
  slot_->taken = false;
}

bool SigbusGuard::faulted() const noexcept {
#if !defined(__SANITIZE_THREAD__)  // gcc's knows no fences
  // What the caller read from the pages must not be delayed beyond the look at the flag.
  std::atomic_thread_fence(std::memory_order_acquire);
#endif
  return slot_->faulted.load(std::memory_order_acquire);
}

}  // namespace varve::inline v0::detail
