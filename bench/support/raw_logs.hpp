// What appending costs without a log: the system calls alone, with the least of bookkeeping around them.
// They have the members of a store (peers/stores.hpp) that appending takes.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "support/files.hpp"
#include "support/futex.hpp"
#include "support/payload.hpp"

namespace bench {

// XXH3 as whoever includes its header gets it.
inline std::uint64_t plain_hash(const std::byte* data, std::size_t bytes) {
  return XXH3_64bits(data, bytes);
}

// What an append has survived when it returns.
enum class Safety { process, power };

// One write(2) a record.
class WriteLog {
 public:
  WriteLog(const fs::path& path, Safety) : file_(path, O_WRONLY | O_CREAT | O_TRUNC) {}

  std::uint64_t append(std::string_view value) {
    file_.write(value.data(), value.size());
    return next_++;
  }

 private:
  RawFile file_;
  std::uint64_t next_ = 0;
};

// A buffer of 1 MiB, each record in it behind its size and XXH3, written when it is full. Loses what
// is in the buffer when the process dies.
class BufferedLog {
 public:
  BufferedLog(const fs::path& path, Safety) : file_(path, O_WRONLY | O_CREAT | O_TRUNC) {}

  std::uint64_t append(std::string_view value) {
    if (used_ + value.size() + head_bytes > buffer_.size()) {
      file_.write(buffer_.data(), used_);
      used_ = 0;
    }
    std::byte* at = buffer_.data() + used_;
    std::memcpy(at + head_bytes, value.data(), value.size());
    const std::array<std::uint32_t, 2> head = {
        static_cast<std::uint32_t>(value.size()),
        static_cast<std::uint32_t>(plain_hash(at + head_bytes, value.size()))};
    std::memcpy(at, head.data(), head_bytes);
    used_ += head_bytes + value.size();
    return next_++;
  }
  void append(const Payload& payload, std::uint64_t first, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) append(payload(first + i));
  }

 private:
  static constexpr std::size_t head_bytes = 8;

  RawFile file_;
  AlignedBuffer buffer_{1u << 20};
  std::size_t used_ = 0;
  std::uint64_t next_ = 0;
};

// Durable writes of whole blocks, one after the other, round a file of written extents.
class BlockLog {
 public:
  static constexpr std::size_t file_bytes = 64u << 20;

  // With `flags` O_DIRECT | O_DSYNC the write is the flush; with 0 it is fdatasync.
  BlockLog(const fs::path& path, int flags, std::size_t block_bytes)
      : file_((make_zero_filled(path, file_bytes), path), O_WRONLY | flags),
        block_(block_bytes),
        by_write_((flags & O_DSYNC) != 0) {}

  void append() {
    if (at_ + block_.size() > file_bytes) at_ = 0;
    file_.write_at(at_, block_.data(), block_.size());
    if (!by_write_) file_.sync();
    at_ += block_.size();
  }

 private:
  RawFile file_;
  AlignedBuffer block_;
  bool by_write_;
  std::uint64_t at_ = 0;
};

// Group commit and nothing else: whoever finds no flush in progress leads one, yields once so that others
// can join, and writes all that came together by one O_DIRECT | O_DSYNC write.
class GroupCommitLog {
 public:
  GroupCommitLog(const fs::path& path, Safety)
      : file_((make_zero_filled(path, BlockLog::file_bytes), path), O_WRONLY | O_DIRECT | O_DSYNC) {
  }

  std::uint64_t append(std::string_view value) {
    std::unique_lock lock(mutex_);
    Batch& batch = *open_;
    require(batch.used + value.size() <= batch.bytes.size(),
            "more threads than a batch has room for");
    std::memcpy(batch.bytes.data() + batch.used, value.data(), value.size());
    batch.used += value.size();
    const std::uint64_t number = next_++;
    const std::uint32_t turn = batch.turn.load(std::memory_order_relaxed) & ~1u;
    const bool joins = std::exchange(leading_, true);
    lock.unlock();
    if (!joins || !wait(batch, turn)) lead();
    return number;
  }

 private:
  struct Batch {
    AlignedBuffer bytes{64u << 10};
    std::size_t used = 0;
    std::atomic<std::uint32_t> turn{0};  // even: open; + 1: somebody of it is to lead; + 2: durable
  };

  // True when the batch is durable, false for the one thread that is to lead it.
  bool wait(Batch& batch, std::uint32_t turn) {
    while (true) {
      const std::uint32_t now = batch.turn.load(std::memory_order_acquire);
      if (now - turn >= 2) return true;
      if (now == turn + 1 && leader_wanted_.exchange(false)) return false;
      futex_wait(batch.turn, now);
    }
  }

  void lead() {
    ::sched_yield();
    std::unique_lock lock(mutex_);
    Batch& batch = *open_;
    Batch& next = &batch == &batches_[0] ? batches_[1] : batches_[0];
    open_ = &next;
    lock.unlock();

    const std::size_t bytes = (batch.used + 4095) / 4096 * 4096;
    if (at_ + bytes > BlockLog::file_bytes) at_ = 0;
    file_.write_at(at_, batch.bytes.data(), bytes);
    at_ += bytes;

    lock.lock();
    batch.used = 0;
    batch.turn.store((batch.turn.load(std::memory_order_relaxed) | 1) + 1,
                     std::memory_order_release);
    const bool more = leading_ = next.used != 0;
    if (more) {
      leader_wanted_ = true;
      next.turn.fetch_add(1, std::memory_order_release);
    }
    lock.unlock();
    if (more) futex_wake(next.turn, 1);
    futex_wake(batch.turn);
  }

  RawFile file_;
  std::mutex mutex_;
  std::array<Batch, 2> batches_;
  Batch* open_ = &batches_[0];  // by mutex_, as are the next two
  bool leading_ = false;
  std::uint64_t next_ = 0;
  std::atomic<bool> leader_wanted_{false};
  std::uint64_t at_ = 0;  // the leader's
};

}  // namespace bench
