// DurableImage: what of one file a loss of power would leave.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string_view>

#include "varve/result.hpp"
#include "varve/storage.hpp"
#include "varve/types.hpp"

namespace varve::inline v0::detail {

// Decides by chance, but by nothing except its seed and what is asked: the same question has the
// same answer, in whatever order the questions come.
class Dice {
 public:
  Dice(std::uint64_t seed, double chance) noexcept : state_(mix(seed)), chance_(chance) {}

  Dice about(std::string_view subject) const noexcept;
  bool roll(std::uint64_t number) const noexcept;

 private:
  static std::uint64_t mix(std::uint64_t value) noexcept;

  std::uint64_t state_;
  double chance_;
};

// The bytes of a file that reached the medium, compared with those that programs see. Whoever owns
// it tells it which changes were made and when they were synced. Not thread-safe.
class DurableImage {
 public:
  static constexpr std::size_t page_bytes = 4096;
  static constexpr std::size_t sector_bytes = 512;

  using Page = std::array<std::byte, page_bytes>;
  using Sector = std::array<std::byte, sector_bytes>;

  // The file as programs see it: its size, and a page of it, zeros behind its end.
  struct Seen {
    std::uint64_t size = 0;
    std::function<Result<void>(std::uint64_t page, Page& out)> read{};
  };

  // Takes all of the file as durable.
  Result<void> load(const Seen& seen);

  // Bytes [begin, end) may have changed; `rewritten` if they were certainly handed to the medium
  // once more.
  void changed(std::uint64_t begin, std::uint64_t end, bool rewritten);
  void truncated(std::uint64_t size);

  // A sync that succeeded, and one that failed: of a failed one the system forgets what it had to
  // write, so those sectors never become durable unless they are changed again.
  Result<void> synced(const Seen& seen);
  Result<void> sync_failed(const Seen& seen);

  // Puts what the medium holds in place of what programs see in `bytes`, which stand at `position`: the
  // old bytes of sectors whose sync failed.
  void show_medium(std::uint64_t position, std::span<std::byte> bytes) const;

  // Becomes what a loss of power leaves.
  Result<void> cut(const Seen& seen, const Dice& dice);

  void flip(std::uint64_t bit);

  // Makes a file that holds what is durable.
  Result<void> write_to(StorageBackend& storage, std::string_view name) const;

 private:
  void put(std::uint64_t page, const Page& bytes);
  void put_sector(std::uint64_t sector, Bytes bytes);
  void shorten(std::uint64_t size);
  bool is_lost(std::uint64_t sector, Bytes seen) const;

  // Calls visit(sector, seen bytes) for each sector that differs from what would be durable if the
  // truncations so far were.
  template <class Visit>
  Result<void> visit_changes(const Seen& seen, Visit visit);

  std::uint64_t size_ = 0;
  std::map<std::uint64_t, Page> pages_;
  std::map<std::uint64_t, Sector> lost_;    // as they were seen when their sync failed
  std::optional<std::uint64_t> truncated_;  // the shortest the file has been since it was synced
  std::uint64_t changed_begin_ = 0;         // outside of [begin, end) nothing differs
  std::uint64_t changed_end_ = 0;
};

}  // namespace varve::inline v0::detail
