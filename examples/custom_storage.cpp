// A storage of one's own: a decorator that measures what a log does to the storage beneath it. In
// the same way one can write to another medium, throttle, or fail on purpose (faulty_storage.hpp).
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <varve/varve.hpp>

namespace {

// Files are used from several threads at once, so the counters are atomic.
struct Counters {
  std::atomic<std::uint64_t> bytes_read{0};
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> bytes_mapped{0};
  std::atomic<std::uint64_t> syncs{0};
  std::atomic<std::uint64_t> sync_nanoseconds{0};
};

class MeasuredFile final : public varve::StorageFile {
 public:
  MeasuredFile(std::unique_ptr<varve::StorageFile> inner, std::shared_ptr<Counters> counters)
      : inner_(std::move(inner)), counters_(std::move(counters)) {}

  varve::Result<std::uint64_t> size() const override { return inner_->size(); }

  varve::Result<std::size_t> read_at(varve::Position position,
                                     std::span<std::byte> out) const override {
    auto read = inner_->read_at(position, out);
    if (read) counters_->bytes_read += *read;
    return read;
  }

  varve::Result<std::size_t> read_medium(varve::Position position,
                                         std::span<std::byte> out) const override {
    auto read = inner_->read_medium(position, out);
    if (read) counters_->bytes_read += *read;
    return read;
  }

  varve::Result<void> write_at(varve::Position position, varve::Bytes data) override {
    auto written = inner_->write_at(position, data);
    if (written) counters_->bytes_written += data.size();
    return written;
  }

  varve::Result<void> allocate(std::uint64_t size) override { return inner_->allocate(size); }
  varve::Result<void> resize(std::uint64_t size) override { return inner_->resize(size); }

  varve::Result<void> sync() override {
    const auto begin = std::chrono::steady_clock::now();
    auto synced = inner_->sync();
    const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begin;
    ++counters_->syncs;
    counters_->sync_nanoseconds += static_cast<std::uint64_t>(took.count());
    return synced;
  }

  // Stores into a mapping go straight to memory: nobody can count them, and nobody has to wait. The
  // mapping itself is passed through.
  varve::Result<std::unique_ptr<varve::StorageMapping>> map(std::size_t size,
                                                            varve::MapMode mode) override {
    counters_->bytes_mapped += size;
    return inner_->map(size, mode);
  }

 private:
  std::unique_ptr<varve::StorageFile> inner_;
  std::shared_ptr<Counters> counters_;
};

class MeasuredStorage final : public varve::StorageBackend {
 public:
  MeasuredStorage(std::shared_ptr<varve::StorageBackend> inner, std::shared_ptr<Counters> counters)
      : inner_(std::move(inner)), counters_(std::move(counters)) {}

  std::string describe() const override { return inner_->describe() + " (measured)"; }
  varve::Result<std::vector<varve::FileEntry>> list() const override { return inner_->list(); }
  varve::Result<varve::FileStatus> stat(std::string_view name) const override {
    return inner_->stat(name);
  }

  varve::Result<std::unique_ptr<varve::StorageFile>> open(std::string_view name,
                                                          varve::OpenMode mode) override {
    auto file = inner_->open(name, mode);
    if (!file) return file.error();
    return std::make_unique<MeasuredFile>(*std::move(file), counters_);
  }

  varve::Result<void> rename(std::string_view from, std::string_view to) override {
    return inner_->rename(from, to);
  }
  varve::Result<void> remove(std::string_view name) override { return inner_->remove(name); }
  varve::Result<void> sync_names() override { return inner_->sync_names(); }
  varve::Result<std::unique_ptr<varve::StorageLock>> lock() override { return inner_->lock(); }

 private:
  std::shared_ptr<varve::StorageBackend> inner_;
  std::shared_ptr<Counters> counters_;
};

int fail(const varve::Error& error) {
  std::cerr << "custom_storage: " << error.message() << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  auto files = varve::open_file_storage(argc > 1 ? argv[1] : "custom_storage.varve", true);
  if (!files) return fail(files.error());
  auto counters = std::make_shared<Counters>();

  auto log = varve::Log::open(std::make_shared<MeasuredStorage>(*files, counters));
  if (!log) return fail(log.error());
  for (int i = 0; i < 1000; ++i) {
    const std::string text = "measured " + std::to_string(i);
    if (auto offset = log->append({.value = varve::bytes(text)}); !offset)
      return fail(offset.error());
  }

  std::uint64_t records = 0;
  varve::Reader reader = log->reader(log->start_offset());
  while (reader.advance()) ++records;
  if (auto status = reader.status(); !status) return fail(status.error());
  if (auto closed = log->close(); !closed) return fail(closed.error());

  const std::uint64_t syncs = counters->syncs;
  std::cout << "records in the log  " << records << '\n'
            << "bytes read          " << counters->bytes_read << '\n'
            << "bytes written       " << counters->bytes_written << " besides those by mapping\n"
            << "bytes mapped        " << counters->bytes_mapped << '\n'
            << "syncs               " << syncs << ", "
            << (syncs == 0 ? 0 : counters->sync_nanoseconds / syncs / 1000) << " us each\n";
  return records >= 1000 && syncs > 0 ? 0 : 1;
}
