#include "varve/faulty_storage.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <shared_mutex>
#include <span>
#include <utility>

#include "durable_image.hpp"
#include "system_error.hpp"

namespace varve::inline v0 {
namespace {

using detail::Dice;
using detail::DurableImage;
using detail::is_missing;
using detail::system_error;
using Page = DurableImage::Page;

constexpr std::array<std::string_view, 12> op_names{"open",   "read",       "write", "allocate",
                                                    "resize", "sync",       "map",   "rename",
                                                    "remove", "sync names", "list",  "lock"};

// Copies bytes that other threads may be storing into, as the kernel does when it writes them back.
// That this is a race is what happens to a real page too, so no sanitizer shall mind.
__attribute__((no_sanitize("thread"))) void copy_shared(const std::byte* from,
                                                        std::span<std::byte> to) {
  const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(from);
  std::size_t done = 0;
  for (; done + sizeof(std::uint64_t) <= to.size(); done += sizeof(std::uint64_t)) {
    const std::uint64_t word = words[done / sizeof(std::uint64_t)];
    __builtin_memcpy(to.data() + done, &word, sizeof word);
  }
  for (; done < to.size(); ++done) to[done] = static_cast<const volatile std::byte*>(from)[done];
}

struct Window {
  const void* owner;
  const std::byte* data;
  std::size_t size;
};

// A file of the inner storage, from when it was first opened here, whatever names it has had since.
struct Inode {
  explicit Inode(std::string first_name) : name(std::move(first_name)) {}

  std::string name;      // guarded by State::mutex
  bool tracked = false;  // guarded by State::mutex; if not, the inner storage holds what is durable

  std::mutex mutex;  // guards what follows
  std::unique_ptr<StorageFile> reader;
  std::vector<Window> windows;  // mappings to write that exist now
  DurableImage image;

  Result<void> read_page(std::uint64_t size, std::uint64_t number, Page& out) const {
    const std::uint64_t begin = number * out.size();
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size - begin));
    const auto window = std::find_if(windows.begin(), windows.end(), [&](const Window& candidate) {
      return candidate.size >= begin + bytes;
    });
    if (window != windows.end()) {
      copy_shared(window->data + begin, std::span(out).first(bytes));
    } else if (auto got = reader->read_at({begin}, std::span(out).first(bytes)); !got) {
      return got.error();
    }
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(bytes), out.end(), std::byte{0});
    return {};
  }

  Result<DurableImage::Seen> look() {
    for (const Window& window : windows) image.changed(0, window.size, false);
    const auto size = reader->size();
    if (!size) return size.error();
    return DurableImage::Seen{.size = *size, .read = [this, size = *size](auto number, Page& out) {
                                return read_page(size, number, out);
                              }};
  }

  Result<void> synced(bool success) {
    const std::lock_guard lock(mutex);
    if (reader == nullptr) return {};  // only ever opened for reading
    const auto seen = look();
    if (!seen) return seen.error();
    return success ? image.synced(*seen) : image.sync_failed(*seen);
  }

  void changed(std::uint64_t begin, std::uint64_t end, bool rewritten) {
    const std::lock_guard lock(mutex);
    image.changed(begin, end, rewritten);
  }

  void truncated(std::uint64_t size) {
    const std::lock_guard lock(mutex);
    image.truncated(size);
  }

  void show_medium(std::uint64_t position, std::span<std::byte> bytes) {
    const std::lock_guard lock(mutex);
    image.show_medium(position, bytes);
  }
};

using Names = std::map<std::string, std::shared_ptr<Inode>, std::less<>>;

// A change of names that may or may not have reached the medium.
struct NameChange {
  std::string from;  // empty: a creation
  std::string to;    // empty: a removal
  std::shared_ptr<Inode> inode;

  void apply(Names& names) const {
    const auto old = names.find(from);
    if (old != names.end() && old->second == inode) names.erase(old);
    if (to.empty()) return;
    // Had an earlier change been lost, the file would now have two names.
    std::erase_if(names, [this](const auto& entry) { return entry.second == inode; });
    names[to] = inode;
  }
};

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
  explicit State(std::shared_ptr<StorageBackend> storage) : inner(std::move(storage)) {}

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
  Names names;          // of the files opened or renamed so far; of others nothing is unsynced
  Names durable_names;  // the same as the medium has them
  std::vector<NameChange> unsynced;

  std::string path_of(std::string_view name) const {
    return name.empty() ? inner->describe() : inner->describe() + "/" + std::string(name);
  }

  Call begin(StorageOp op, std::string_view name, std::string_view other_name = {},
             std::optional<std::uint64_t> life = std::nullopt);
  Call begin(StorageOp op, const Inode& inode, std::uint64_t life);
  Result<void> check_power(std::string_view name) const;

  std::shared_ptr<Inode> find(std::string_view name);
  Result<void> track(Inode& inode);
  Result<std::shared_ptr<Inode>> track(std::string_view name);
  Result<std::unique_ptr<StorageFile>> open(std::string_view name, OpenMode mode,
                                            std::shared_ptr<Inode>& inode);
  Result<std::shared_ptr<Inode>> add(std::string_view name);
  Result<void> rename(std::string_view from, std::string_view to);
  Result<void> remove(std::string_view name);
  Names names_after(const Dice& dice) const;
  Result<void> cut_power(const Dice& dice);
  Result<void> copy_medium(const Dice& dice, StorageBackend& medium) const;
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
    const std::lock_guard lock(inode_->mutex);
    inode_->windows.push_back({this, inner_->data(), inner_->size()});
  }

  ~FaultyMapping() override {
    if (mode_ == MapMode::read) return;
    const std::lock_guard lock(inode_->mutex);
    std::erase_if(inode_->windows, [this](const Window& window) { return window.owner == this; });
    inode_->image.changed(0, inner_->size(), false);
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
  const std::string name = (std::lock_guard(mutex), inode.name);
  return begin(op, name, {}, life);
}

// Whoever was at work when the power was cut may not know yet, but shall not touch what is there now.
// The next one to write takes the lock first.
Result<void> FaultyStorage::State::check_power(std::string_view name) const {
  if (!off) return {};
  return system_error(EIO, path_of(name) + ": the power was cut; take the lock first");
}

// Of a file that the inner storage has under that name.
std::shared_ptr<Inode> FaultyStorage::State::find(std::string_view name) {
  auto& inode = names[std::string(name)];
  if (inode == nullptr) {
    inode = std::make_shared<Inode>(std::string(name));
    durable_names[std::string(name)] = inode;
  }
  return inode;
}

// From here on the durable bytes are remembered. Nothing has been changed before.
Result<void> FaultyStorage::State::track(Inode& inode) {
  if (inode.tracked) return {};
  auto reader = inner->open(inode.name, OpenMode::read);
  if (!reader) return reader.error();
  const std::lock_guard lock(inode.mutex);
  inode.reader = *std::move(reader);
  const auto seen = inode.look();
  if (!seen) return seen.error();
  if (auto loaded = inode.image.load(*seen); !loaded) return loaded;
  inode.tracked = true;
  return {};
}

// Null where there is no file.
Result<std::shared_ptr<Inode>> FaultyStorage::State::track(std::string_view name) {
  const auto entry = inner->stat(name);
  if (!entry && is_missing(entry.error())) {
    return std::shared_ptr<Inode>();
  }
  if (!entry) return entry.error();
  if (entry->kind != FileKind::file) return std::shared_ptr<Inode>();
  std::shared_ptr<Inode> inode = find(name);
  if (auto tracked = track(*inode); !tracked) return tracked.error();
  return inode;
}

Result<std::unique_ptr<StorageFile>> FaultyStorage::State::open(std::string_view name,
                                                                OpenMode mode,
                                                                std::shared_ptr<Inode>& inode) {
  if (mode == OpenMode::read) {
    auto file = inner->open(name, mode);
    if (file) inode = find(name);
    return file;
  }
  auto existing = track(name);
  if (!existing) return existing.error();
  inode = *std::move(existing);
  auto file = inner->open(name, mode);
  if (!file) return file;
  if (inode != nullptr) {
    if (mode == OpenMode::create) inode->truncated(0);
    return file;
  }
  auto added = add(name);
  if (!added) return added.error();
  inode = *std::move(added);
  return file;
}

// A file that the inner storage has by now: durable as it is, but for its name.
Result<std::shared_ptr<Inode>> FaultyStorage::State::add(std::string_view name) {
  auto inode = std::make_shared<Inode>(std::string(name));
  names[inode->name] = inode;
  unsynced.push_back({.from = {}, .to = inode->name, .inode = inode});
  if (auto tracked = track(*inode); !tracked) return tracked.error();
  return inode;
}

Result<void> FaultyStorage::State::rename(std::string_view from, std::string_view to) {
  const auto moved = track(from);
  if (!moved) return moved.error();
  const auto replaced = track(to);
  if (!replaced) return replaced.error();
  if (auto done = inner->rename(from, to); !done || from == to || *moved == nullptr) return done;
  const NameChange change{.from = std::string(from), .to = std::string(to), .inode = *moved};
  change.apply(names);
  change.inode->name = change.to;
  unsynced.push_back(change);
  return {};
}

Result<void> FaultyStorage::State::remove(std::string_view name) {
  const auto removed = track(name);
  if (!removed) return removed.error();
  if (auto done = inner->remove(name); !done || *removed == nullptr) return done;
  const NameChange change{.from = std::string(name), .to = {}, .inode = *removed};
  change.apply(names);
  unsynced.push_back(change);
  return {};
}

// The names that a loss of power leaves.
Names FaultyStorage::State::names_after(const Dice& dice) const {
  Names left = durable_names;
  for (std::size_t i = 0; i < unsynced.size(); ++i) {
    const NameChange& change = unsynced[i];
    if (dice.about(change.from + "/" + change.to).roll(i)) change.apply(left);
  }
  return left;
}

Result<void> FaultyStorage::State::cut_power(const Dice& dice) {
  const Names left = names_after(dice);
  const Names seen = std::exchange(names, {});
  durable_names.clear();
  unsynced.clear();
  ++lives;
  off = true;
  inner_lock.reset();

  for (const auto& [name, inode] : left) {
    if (!inode->tracked) continue;
    const std::lock_guard lock(inode->mutex);
    const auto bytes = inode->look();
    if (!bytes) return bytes.error();
    if (auto done = inode->image.cut(*bytes, dice.about(name)); !done) return done;
  }
  // New files take the place of the old ones, so that stores into their mappings go nowhere.
  for (const auto& [name, inode] : seen) {
    if (!inode->tracked) continue;
    if (auto done = inner->remove(name); !done) return done;
  }
  for (const auto& [name, inode] : left) {
    if (!inode->tracked) continue;
    if (auto done = inode->image.write_to(*inner, name); !done) return done;
  }
  return inner->sync_names();
}

// Copies into `medium` what a loss of power would leave.
Result<void> FaultyStorage::State::copy_medium(const Dice& dice, StorageBackend& medium) const {
  for (const auto& [name, inode] : names_after(dice)) {
    if (!inode->tracked) continue;
    const std::lock_guard lock(inode->mutex);
    const auto seen = inode->look();
    if (!seen) return seen.error();
    DurableImage image = inode->image;
    if (auto done = image.cut(*seen, dice.about(name)); !done) return done;
    if (auto done = image.write_to(medium, name); !done) return done;
  }
  // Of the files that were not touched nothing is unsynced.
  const auto entries = inner->list();
  if (!entries) return entries.error();
  for (const FileEntry& entry : *entries) {
    const auto known = names.find(entry.name);
    if (entry.kind != FileKind::file || (known != names.end() && known->second->tracked)) continue;
    Inode inode(entry.name);
    auto reader = inner->open(entry.name, OpenMode::read);
    if (!reader) return reader.error();
    inode.reader = *std::move(reader);
    const auto seen = inode.look();
    if (!seen) return seen.error();
    if (auto loaded = inode.image.load(*seen); !loaded) return loaded;
    if (auto done = inode.image.write_to(medium, entry.name); !done) return done;
  }
  return medium.sync_names();
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
  return state_->copy_medium(Dice(cut.seed, cut.keep), medium);
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

  const auto found = state_->names.find(name);
  if (found == state_->names.end() || !found->second->tracked) return {};
  const std::lock_guard inode_lock(found->second->mutex);
  found->second->image.flip(bit);
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
  auto file = state_->open(name, mode, inode);
  if (!file) return file;
  return std::make_unique<FaultyFile>(state_, std::move(inode), state_->lives, *std::move(file));
}

Result<void> FaultyStorage::rename(std::string_view from, std::string_view to) {
  const Call call = state_->begin(StorageOp::rename, from, to);
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (auto on = state_->check_power(from); !on) return on;
  return state_->rename(from, to);
}

Result<void> FaultyStorage::remove(std::string_view name) {
  const Call call = state_->begin(StorageOp::remove, name);
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (auto on = state_->check_power(name); !on) return on;
  return state_->remove(name);
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
  if (auto added = other.add(name); !added) return added.error();
  return {};
}

Result<void> FaultyStorage::sync_names() {
  const Call call = state_->begin(StorageOp::sync_names, {});
  if (!call) return *call.error;
  const std::lock_guard lock(state_->mutex);
  if (auto on = state_->check_power({}); !on) return on;
  if (auto done = state_->inner->sync_names(); !done) return done;
  state_->durable_names = state_->names;
  state_->unsynced.clear();
  return {};
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
