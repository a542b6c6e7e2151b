#include "varve/faulty_storage.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <numeric>
#include <optional>
#include <shared_mutex>
#include <span>
#include <utility>

#include "durable_image.hpp"
#include "durable_state.hpp"
#include "system_error.hpp"

namespace varve::inline v0 {
namespace {

using detail::Dice;
using detail::DurableState;
using detail::Inode;
using detail::system_error;

constexpr std::array<std::string_view, 12> op_names{"open",   "read",       "write", "allocate",
                                                    "resize", "sync",       "map",   "rename",
                                                    "remove", "sync names", "list",  "lock"};

struct ActiveFault {
  Fault fault;
  std::uint64_t matched = 0;

  bool fires(StorageOp op, std::string_view name, std::string_view other_name) {
    const auto& ops = fault.ops;
    if (!ops.empty() && std::find(ops.begin(), ops.end(), op) == ops.end()) return false;
    if (name.find(fault.name) == std::string_view::npos &&
        other_name.find(fault.name) == std::string_view::npos) {
      return false;
    }
    const std::uint64_t call = matched++;
    return call >= fault.after && call - fault.after < fault.times;
  }
};

// How a call begins. While it is held, the power stays on.
struct Call {
  std::shared_lock<std::shared_mutex> power{};
  std::optional<Error> error{};
  bool injected = false;
  bool half_done = false;

  explicit operator bool() const noexcept { return !error; }
};

}  // namespace

struct FaultyStorage::State {
  explicit State(std::shared_ptr<StorageBackend> storage)
      : inner(std::move(storage)), files(inner) {}

  const std::shared_ptr<StorageBackend> inner;
  std::function<void(StorageOp, std::string_view)> hook;

  // Taken in this order, then an Inode's: `power` shared by every call and alone by what stops the
  // world; `mutex` for the members below.
  std::shared_mutex power;
  std::mutex mutex;
  std::vector<ActiveFault> faults;
  std::array<std::uint64_t, op_names.size()> calls{};
  std::atomic<std::uint64_t> lives{
      0};            // how often the power was cut; what was opened in another is dead
  bool off = false;  // the power was cut and nobody has taken the lock since
  std::unique_ptr<StorageLock> inner_lock;
  DurableState files;

  std::string path_of(std::string_view name) const {
    return name.empty() ? inner->describe() : inner->describe() + "/" + std::string(name);
  }

  Call begin(StorageOp op, std::string_view name, std::string_view other_name = {},
             std::optional<std::uint64_t> life = std::nullopt);
  Call begin(StorageOp op, const Inode& inode, std::uint64_t life);
  Result<void> check_power(std::string_view name) const;

  Result<void> cut_power(const Dice& dice);
};

namespace {

using State = FaultyStorage::State;

class FaultyMapping final : public StorageMapping {
 public:
  FaultyMapping(std::shared_ptr<State> state, std::shared_ptr<Inode> inode, std::uint64_t life,
                std::unique_ptr<StorageMapping> inner, MapMode mode)
      : state_(std::move(state)),
        inode_(std::move(inode)),
        life_(life),
        inner_(std::move(inner)),
        mode_(mode) {
    if (mode_ == MapMode::read) return;
    inode_->add_window(this, inner_->data(), inner_->size());
  }

  ~FaultyMapping() override {
    if (mode_ != MapMode::read) inode_->remove_window(this);
  }

  std::byte* data() noexcept override { return inner_->data(); }
  std::size_t size() const noexcept override { return inner_->size(); }

  void finish() noexcept override { inner_->finish(); }

  Result<void> populate(Position begin, Position end) override {
    const Call call = state_->begin(StorageOp::map, *inode_, life_);
    return call ? inner_->populate(begin, end) : Result<void>(*call.error);
  }

  bool faulted() const noexcept override { return life_ != state_->lives || inner_->faulted(); }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<Inode> inode_;
  std::uint64_t life_;
  std::unique_ptr<StorageMapping> inner_;
  MapMode mode_;
};

class FaultyFile final : public StorageFile {
 public:
  FaultyFile(std::shared_ptr<State> state, std::shared_ptr<Inode> inode, std::uint64_t life,
             std::unique_ptr<StorageFile> inner)
      : state_(std::move(state)), inode_(std::move(inode)), life_(life), inner_(std::move(inner)) {}

  Result<std::uint64_t> size() const override {
    const Call call = begin(StorageOp::read);
    if (!call) return *call.error;
    return inner_->size();
  }

  Result<std::size_t> read_at(Position position, std::span<std::byte> out) const override {
    const Call call = begin(StorageOp::read);
    if (!call) return *call.error;
    return inner_->read_at(position, out);
  }

  Result<std::size_t> read_medium(Position position, std::span<std::byte> out) const override {
    const Call call = begin(StorageOp::read);
    if (!call) return *call.error;
    auto got = inner_->read_medium(position, out);
    if (got) inode_->show_medium(position.value, out.first(*got));
    return got;
  }

  void drop_cache() const noexcept override { inner_->drop_cache(); }

  Result<void> write_at(Position position, Bytes data) override {
    const Call call = begin(StorageOp::write);
    if (call) return write(position, data);
    if (call.half_done) static_cast<void>(write(position, data.first(data.size() / 2)));
    return *call.error;
  }

  Result<void> allocate(std::uint64_t size) override {
    const Call call = begin(StorageOp::allocate);
    return call ? inner_->allocate(size) : Result<void>(*call.error);
  }

  Result<void> resize(std::uint64_t size) override {
    const Call call = begin(StorageOp::resize);
    if (!call) return *call.error;
    const auto before = inner_->size();
    if (!before) return before.error();
    auto done = inner_->resize(size);
    if (done && size < *before) inode_->truncated(size);
    return done;
  }

  Result<void> sync() override {
    const Call call = begin(StorageOp::sync);
    if (call.error && !call.injected) return *call.error;
    const Result<void> done = call ? inner_->sync() : Result<void>(*call.error);
    if (const auto noted = inode_->synced(done.has_value()); done && !noted) return noted;
    return done;
  }

  Result<std::unique_ptr<StorageMapping>> map(std::size_t size, MapMode mode) override {
    const Call call = begin(StorageOp::map);
    if (!call) return *call.error;
    auto inner = inner_->map(size, mode);
    if (!inner) return inner;
    return std::make_unique<FaultyMapping>(state_, inode_, life_, *std::move(inner), mode);
  }

 private:
  Call begin(StorageOp op) const { return state_->begin(op, *inode_, life_); }

  Result<void> write(Position position, Bytes data) {
    auto done = inner_->write_at(position, data);
    inode_->changed(position.value, position.value + data.size(), true);
    return done;
  }

  std::shared_ptr<State> state_;
  std::shared_ptr<Inode> inode_;
  std::uint64_t life_;
  std::unique_ptr<StorageFile> inner_;
};

class FaultyLock final : public StorageLock {
 public:
  FaultyLock(std::shared_ptr<State> state, std::uint64_t life)
      : state_(std::move(state)), life_(life) {}
  ~FaultyLock() override {
    const std::lock_guard lock(state_->mutex);
    if (life_ == state_->lives) state_->inner_lock.reset();
  }

 private:
  std::shared_ptr<State> state_;
  std::uint64_t life_;
};

}  // namespace

Call FaultyStorage::State::begin(StorageOp op, std::string_view name, std::string_view other_name,
                                 std::optional<std::uint64_t> life) {
  if (hook) hook(op, name);
  Call call{.power = std::shared_lock(power)};
  const std::lock_guard lock(mutex);
  const auto index = static_cast<std::size_t>(op);
  ++calls[index];
  const std::string_view action = op_names[index];
  if (life && *life != lives) {
    call.error = system_error(
        EIO, path_of(name) + ": " + std::string(action) + ": opened before the power was cut");
    return call;
  }
  for (ActiveFault& active : faults) {  // all of them count the call
    if (!active.fires(op, name, other_name) || call.injected) continue;
    const std::error_code code = active.fault.error;
    std::string context = path_of(name) + ": " + std::string(action) + ": injected";
    const bool from_system =
        code.category() == std::generic_category() || code.category() == std::system_category();
    call.error = from_system ? system_error(code.value(), std::move(context))
                             : Error(code, std::move(context));
    call.injected = true;
    call.half_done = active.fault.half_done;
  }
  return call;
}

Call FaultyStorage::State::begin(StorageOp op, const Inode& inode, std::uint64_t life) {
  const std::string name = (std::lock_guard(mutex), inode.name());
  return begin(op, name, {}, life);
}

// Whoever was at work when the power was cut may not know yet, but shall not touch what is there now.
// The next one to write takes the lock first.
Result<void> FaultyStorage::State::check_power(std::string_view name) const {
  if (!off) return {};
  return system_error(EIO, path_of(name) + ": the power was cut; take the lock first");
}

Result<void> FaultyStorage::State::cut_power(const Dice& dice) {
  ++lives;
  off = true;
  inner_lock.reset();
  return files.cut_power(dice);
}

FaultyStorage::FaultyStorage(std::shared_ptr<StorageBackend> inner)
    : state_(std::make_shared<State>(std::move(inner))) {}

FaultyStorage::~FaultyStorage() = default;

void FaultyStorage::inject(Fault fault) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.push_back({.fault = std::move(fault)});
}

void FaultyStorage::clear_faults() {
  const std::lock_guard lock(state_->mutex);
  state_->faults.clear();
}

std::uint64_t FaultyStorage::calls() const {
  const std::lock_guard lock(state_->mutex);
  return std::accumulate(state_->calls.begin(), state_->calls.end(), std::uint64_t{0});
}

std::uint64_t FaultyStorage::calls(StorageOp op) const {
  const std::lock_guard lock(state_->mutex);
  return state_->calls[static_cast<std::size_t>(op)];
}

void FaultyStorage::on_call(std::function<void(StorageOp, std::string_view)> hook) {
  state_->hook = std::move(hook);
}

Result<void> FaultyStorage::cut_power(PowerCut cut) {
  const std::lock_guard power(state_->power);
  const std::lock_guard lock(state_->mutex);
  return state_->cut_power(Dice(cut.seed, cut.keep));
}

Result<void> FaultyStorage::copy_medium(PowerCut cut, StorageBackend& medium) const {
  const std::lock_guard power(state_->power);
  const std::lock_guard lock(state_->mutex);
  return state_->files.copy_medium(Dice(cut.seed, cut.keep), medium);
}

Result<void> FaultyStorage::flip_bit(std::string_view name, std::uint64_t bit) {
  const std::lock_guard power(state_->power);
  const std::lock_guard lock(state_->mutex);
  auto file = state_->inner->open(name, OpenMode::write);
  if (!file) return file.error();
  std::array<std::byte, 1> byte{};
  const auto got = (*file)->read_at({bit / 8}, byte);
  if (!got) return got.error();
  if (*got == 0) return Error(Errc::invalid_argument, state_->path_of(name) + ": no such bit");
  byte[0] ^= static_cast<std::byte>(1U << (bit % 8));
  if (auto done = (*file)->write_at({bit / 8}, byte); !done) return done;
  state_->files.flipped(name, bit);
  return {};
}

std::string FaultyStorage::describe() const { return state_->inner->describe(); }

Result<std::vector<FileEntry>> FaultyStorage::list() const {
  const Call call = state_->begin(StorageOp::list, {});
  if (!call) return *call.error;
  return state_->inner->list();
}

Result<FileStatus> FaultyStorage::stat(std::string_view name) const {
  const Call call = state_->begin(StorageOp::list, name);
  if (!call) return *call.error;
  return state_->inner->stat(name);
}

Result<std::unique_ptr<StorageFile>> FaultyStorage::open(std::string_view name, OpenMode mode) {
  const Call call = state_->begin(StorageOp::open, name);
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (mode != OpenMode::read) {
    if (auto on = state_->check_power(name); !on) return on.error();
  }
  std::shared_ptr<Inode> inode;
  auto file = state_->files.open(name, mode, inode);
  if (!file) return file;
  return std::make_unique<FaultyFile>(state_, std::move(inode), state_->lives, *std::move(file));
}

Result<void> FaultyStorage::rename(std::string_view from, std::string_view to) {
  const Call call = state_->begin(StorageOp::rename, from, to);
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (auto on = state_->check_power(from); !on) return on;
  return state_->files.rename(from, to);
}

Result<void> FaultyStorage::remove(std::string_view name) {
  const Call call = state_->begin(StorageOp::remove, name);
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (auto on = state_->check_power(name); !on) return on;
  return state_->files.remove(name);
}

const void* FaultyStorage::kind() const noexcept { return &storage_kind<FaultyStorage>; }

Result<void> FaultyStorage::share(std::string_view name, StorageBackend& to) {
  const Call call = state_->begin(StorageOp::rename, name);
  if (!call) return *call.error;
  if (to.kind() != kind()) return StorageBackend::share(name, to);
  State& other = *static_cast<FaultyStorage&>(to).state_;
  const Call there = other.begin(StorageOp::rename, name);
  if (!there) return *there.error;
  const std::lock_guard lock(other.mutex);
  if (auto on = other.check_power(name); !on) return on;
  if (auto shared = state_->inner->share(name, *other.inner); !shared) return shared;
  if (auto added = other.files.add(name); !added) return added.error();
  return {};
}

Result<void> FaultyStorage::sync_names() {
  const Call call = state_->begin(StorageOp::sync_names, {});
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (auto on = state_->check_power({}); !on) return on;
  return state_->files.sync_names();
}

Result<std::unique_ptr<StorageLock>> FaultyStorage::lock() {
  const Call call = state_->begin(StorageOp::lock, {});
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  auto inner = state_->inner->lock();
  if (!inner) return inner;
  auto lock_of_this_life = std::make_unique<FaultyLock>(state_, state_->lives);
  state_->inner_lock = *std::move(inner);
  state_->off = false;
  return lock_of_this_life;
}

}  // namespace varve::inline v0
