// What varve takes besides time: disk, memory, allocations.
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "peers/varve.hpp"
#include "support/process.hpp"

namespace {

std::atomic<std::int64_t> heap_bytes{0};
thread_local std::uint64_t allocations = 0;  // by this thread

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  void* memory =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(bytes)
          : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  ++allocations;
  if (memory != nullptr)
    heap_bytes.fetch_add(static_cast<std::int64_t>(::malloc_usable_size(memory)),
                         std::memory_order_relaxed);
  return memory;
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept {
  heap_bytes.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(memory)),
                       std::memory_order_relaxed);
  std::free(memory);
}

}  // namespace

// The array and the sized forms call these.
void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 1); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }

namespace {

using namespace bench;

void append(VarveStore& store, const Payload& payload, std::uint64_t count, std::size_t batch) {
  for (std::uint64_t number = 0; number < count; number += batch) {
    if (batch == 1)
      store.append(payload(number));
    else
      store.append(payload, number, batch);
  }
}

// On disk after a clean close, everything in the directory counted.
void disk_bytes(Sample& sample, std::size_t batch) {
  const Directory directory;
  const std::uint64_t records = scaled(1'500'000) / batch * batch;
  {
    VarveStore store(directory / "log", Safety::process);
    append(store, Payload(100), records, batch);
    store.log().close().value();
  }
  sample.set("bytes_per_record", static_cast<double>(allocated_bytes(directory / "log")) /
                                     static_cast<double>(records));
}

// The most anonymous memory while appending at full speed and reading along, random reads included,
// which use the indexes of all segments.
void memory_in_flow(Sample& sample) {
  const Directory directory;
  const double before = anonymous_bytes();
  double most = 0;
  VarveStore store(directory / "log", Safety::process);
  VarveStore::Reader reader(store);
  const Payload payload(100);
  const std::uint64_t records = scaled(1'500'000);
  for (std::uint64_t number = 0; number < records; ++number) {
    store.append(payload(number));
    if (number % 256 != 0) continue;
    const std::uint64_t old = number * 7919 % (number + 1);
    reader.read(old, [&](std::string_view value) { payload.check(old, value); });
    if (number % 65536 == 0) most = std::max(most, anonymous_bytes());
  }
  sample.set("anonymous_bytes", std::max(most, anonymous_bytes()) - before);
}

// Logs that were used a little and left alone.
void idle_logs(Sample& sample) {
  const auto logs = static_cast<std::size_t>(scaled(30));
  const Directory directory;
  std::vector<VarveStore> stores;
  stores.reserve(logs);
  const Payload payload(100);
  const double before = anonymous_bytes();
  for (std::size_t i = 0; i < logs; ++i) {
    stores.emplace_back(directory / std::to_string(i).c_str(), Safety::process);
    append(stores.back(), payload, 100, 1);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // for the background to come to rest
  sample.set("anonymous_bytes", (anonymous_bytes() - before) / static_cast<double>(logs));
}

// What the heap holds for a log once it is open, by its number of segments.
void sealed_segments(Sample& sample) {
  const varve::Options small{.segment_bytes = 16u << 10};
  const Payload payload(1000);
  const std::vector<varve::Record> batch(10, {.value = varve::bytes(payload(0))});
  const auto heap_of = [&](const char* name, std::size_t segments) {
    const Directory directory;
    {
      varve::Log log = varve::Log::open(directory / name, small).value();
      while (log.segments().size() < segments) log.append(batch, {varve::Ack::os}).value();
      log.close().value();
    }
    const std::int64_t before = heap_bytes;
    const varve::Log log = varve::Log::open(directory / name, small).value();
    return static_cast<double>(heap_bytes - before);
  };
  constexpr std::size_t few = 2;
  constexpr std::size_t many = 202;
  const double of_few = heap_of("few", few);
  sample.set("heap_bytes", (heap_of("many", many) - of_few) / static_cast<double>(many - few));
}

// By the thread that appends or reads, over several segments: rolls and what the index grows by are in it.
void allocations_of(Sample& sample, bool reading) {
  const Directory directory;
  const Payload payload(100);
  const std::uint64_t records = scaled(1'500'000);
  VarveStore store(directory / "log", Safety::process);
  store.append(payload(0));
  std::uint64_t before = allocations;
  for (std::uint64_t number = 1; number < records; ++number) store.append(payload(number));
  if (reading) {
    VarveStore::Reader reader(store);
    std::uint64_t seen = 0;
    before = allocations;
    reader.scan([&](std::uint64_t number, std::string_view value) {
      payload.check(number, value);
      ++seen;
    });
    require(seen == records, "records are missing");
  }
  sample.set("allocations_per_record",
             static_cast<double>(allocations - before) / static_cast<double>(records));
}

const Registration samples([] {
  add("footprint/disk/one", [](Sample& sample) { disk_bytes(sample, 1); });
  add("footprint/disk/batched", [](Sample& sample) { disk_bytes(sample, 100); });
  add("footprint/memory/flow", memory_in_flow);
  add("footprint/memory/idle", idle_logs);
  add("footprint/memory/segment", sealed_segments);
  add("footprint/allocations/append", [](Sample& sample) { allocations_of(sample, false); });
  add("footprint/allocations/read", [](Sample& sample) { allocations_of(sample, true); });
});

}  // namespace
