#include "durable_image.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

namespace varve::inline v0::detail {
namespace {

using Page = DurableImage::Page;

constexpr std::uint64_t size_question = std::numeric_limits<std::uint64_t>::max();
constexpr Page blank_page{};

bool same(Bytes a, Bytes b) { return std::memcmp(a.data(), b.data(), a.size()) == 0; }

void blank_from(Page& page, std::uint64_t page_begin, std::uint64_t end) {
  if (end >= page_begin + page.size()) return;
  const std::size_t keep = end > page_begin ? static_cast<std::size_t>(end - page_begin) : 0;
  std::fill(page.begin() + static_cast<std::ptrdiff_t>(keep), page.end(), std::byte{0});
}

}  // namespace

// The finalizer of SplitMix64.
std::uint64_t Dice::mix(std::uint64_t value) noexcept {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

Dice Dice::about(std::string_view subject) const noexcept {
  Dice dice = *this;
  for (const char character : subject) {
    dice.state_ = mix(dice.state_ ^ static_cast<unsigned char>(character));
  }
  return dice;
}

bool Dice::roll(std::uint64_t number) const noexcept {
  return static_cast<double>(mix(state_ ^ mix(number)) >> 11) * 0x1p-53 < chance_;
}

Result<void> DurableImage::load(const Seen& seen) {
  *this = DurableImage();
  size_ = seen.size;
  Page page;
  for (std::uint64_t number = 0; number * page_bytes < size_; ++number) {
    if (auto read = seen.read(number, page); !read) return read;
    put(number, page);
  }
  return {};
}

void DurableImage::changed(std::uint64_t begin, std::uint64_t end, bool rewritten) {
  if (begin >= end) return;
  if (rewritten) {
    lost_.erase(lost_.lower_bound(begin / sector_bytes),
                lost_.upper_bound((end - 1) / sector_bytes));
  }
  const bool clean = changed_begin_ == changed_end_;
  changed_begin_ = clean ? begin : std::min(changed_begin_, begin);
  changed_end_ = clean ? end : std::max(changed_end_, end);
}

void DurableImage::truncated(std::uint64_t size) {
  truncated_ = std::min(size, truncated_.value_or(size));
  lost_.erase(lost_.lower_bound((size + sector_bytes - 1) / sector_bytes), lost_.end());
  // The sector that was cut through keeps its place among those that were lost.
  if (const auto last = lost_.find(size / sector_bytes); last != lost_.end()) {
    std::fill(last->second.begin() + static_cast<std::ptrdiff_t>(size % sector_bytes),
              last->second.end(), std::byte{0});
  }
}

void DurableImage::put(std::uint64_t page, const Page& bytes) {
  if (same(bytes, blank_page)) {
    pages_.erase(page);
  } else {
    pages_.insert_or_assign(page, bytes);
  }
}

void DurableImage::shorten(std::uint64_t size) {
  pages_.erase(pages_.lower_bound((size + page_bytes - 1) / page_bytes), pages_.end());
  if (const auto last = pages_.find(size / page_bytes); last != pages_.end()) {
    blank_from(last->second, last->first * page_bytes, size);
  }
}

void DurableImage::put_sector(std::uint64_t sector, Bytes bytes) {
  const std::uint64_t position = sector * sector_bytes;
  Page& page = pages_.try_emplace(position / page_bytes, blank_page).first->second;
  std::copy(bytes.begin(), bytes.end(),
            page.begin() + static_cast<std::ptrdiff_t>(position % page_bytes));
}

template <class Visit>
Result<void> DurableImage::visit_changes(const Seen& seen, Visit visit) {
  const std::uint64_t end = std::min(changed_end_, seen.size);
  Page now;
  Page shortened;
  for (std::uint64_t number = changed_begin_ / page_bytes; number * page_bytes < end; ++number) {
    if (auto read = seen.read(number, now); !read) return read;
    const auto found = pages_.find(number);
    const Page* durable = found == pages_.end() ? &blank_page : &found->second;
    if (truncated_) {
      shortened = *durable;
      blank_from(shortened, number * page_bytes, *truncated_);
      durable = &shortened;
    }
    if (same(now, *durable)) continue;
    for (std::size_t at = 0; at < page_bytes; at += sector_bytes) {
      const Bytes is = Bytes(now).subspan(at, sector_bytes);
      if (same(is, Bytes(*durable).subspan(at, sector_bytes))) continue;
      visit((number * page_bytes + at) / sector_bytes, is);
    }
  }
  return {};
}

bool DurableImage::is_lost(std::uint64_t sector, Bytes seen) const {
  const auto lost = lost_.find(sector);
  return lost != lost_.end() && same(seen, lost->second);
}

Result<void> DurableImage::synced(const Seen& seen) {
  if (truncated_) shorten(*truncated_);
  truncated_.reset();
  auto done = visit_changes(seen, [this](std::uint64_t sector, Bytes bytes) {
    if (is_lost(sector, bytes)) return;
    lost_.erase(sector);
    put_sector(sector, bytes);
  });
  if (!done) return done;
  shorten(seen.size);
  size_ = seen.size;
  changed_begin_ = lost_.empty() ? 0 : lost_.begin()->first * sector_bytes;
  changed_end_ = lost_.empty() ? 0 : (lost_.rbegin()->first + 1) * sector_bytes;
  return {};
}

Result<void> DurableImage::sync_failed(const Seen& seen) {
  return visit_changes(seen, [this](std::uint64_t sector, Bytes bytes) {
    std::copy(bytes.begin(), bytes.end(), lost_[sector].begin());
  });
}

void DurableImage::show_medium(std::uint64_t position, std::span<std::byte> bytes) const {
  const std::uint64_t end = position + bytes.size();
  for (auto lost = lost_.lower_bound((position + sector_bytes - 1) / sector_bytes);
       lost != lost_.end() && (lost->first + 1) * sector_bytes <= end; ++lost) {
    const std::uint64_t begin = lost->first * sector_bytes;
    const auto sector = bytes.subspan(static_cast<std::size_t>(begin - position), sector_bytes);
    if (!same(sector, lost->second)) continue;  // changed since
    const auto found = pages_.find(begin / page_bytes);
    Page durable = found == pages_.end() ? blank_page : found->second;
    if (truncated_) blank_from(durable, begin / page_bytes * page_bytes, *truncated_);
    std::copy_n(durable.begin() + static_cast<std::ptrdiff_t>(begin % page_bytes), sector_bytes,
                sector.begin());
  }
}

Result<void> DurableImage::cut(const Seen& seen, const Dice& dice) {
  const bool resized = seen.size != size_ || truncated_;
  const bool keep_size = !resized || dice.roll(size_question);
  if (keep_size && truncated_) {
    shorten(*truncated_);
    truncated_.reset();
  }
  // Where a truncation did not reach the medium, nothing that was written behind it did.
  const std::uint64_t end = truncated_.value_or(std::numeric_limits<std::uint64_t>::max());
  auto done = visit_changes(seen, [&](std::uint64_t sector, Bytes bytes) {
    if ((sector + 1) * sector_bytes > end || is_lost(sector, bytes)) return;
    if (dice.roll(sector)) put_sector(sector, bytes);
  });
  if (!done) return done;
  if (keep_size) size_ = seen.size;
  shorten(size_);
  lost_.clear();
  truncated_.reset();
  changed_begin_ = changed_end_ = 0;
  return {};
}

void DurableImage::flip(std::uint64_t bit) {
  const std::uint64_t at = bit / 8;
  const auto mask = static_cast<std::byte>(1U << (bit % 8));
  if (const auto lost = lost_.find(at / sector_bytes); lost != lost_.end()) {
    lost->second[at % sector_bytes] ^= mask;
  }
  if (at >= size_) return changed(at, at + 1, false);
  const auto found = pages_.find(at / page_bytes);
  Page page = found == pages_.end() ? blank_page : found->second;
  page[at % page_bytes] ^= mask;
  put(at / page_bytes, page);
}

Result<void> DurableImage::write_to(StorageBackend& storage, std::string_view name) const {
  auto file = storage.open(name, OpenMode::create);
  if (!file) return file.error();
  if (auto done = (*file)->resize(size_); !done) return done;
  for (const auto& [number, page] : pages_) {
    const std::uint64_t begin = number * page_bytes;
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(page_bytes, size_ - begin));
    if (auto done = (*file)->write_at({begin}, Bytes(page).first(bytes)); !done) return done;
  }
  return (*file)->sync();
}

}  // namespace varve::inline v0::detail
