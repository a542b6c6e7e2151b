// Reader: a cursor over a log, and an input range of its records.
#pragma once

#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>

#include "varve/detail/record_cursor.hpp"
#include "varve/export.hpp"
#include "varve/record.hpp"
#include "varve/result.hpp"

namespace varve::inline v0 {

// Reads records in order of their offsets, verifying every byte that comes from storage. Holds the
// segment that it is in, so what it shows stays readable even when the log drops that segment.
// Readers take no lock that an appender waits for. One thread at a time; a Reader may outlive its Log.
//
//   for (const RecordView& record : reader) ...       // stops when caught up, or at an error
//   if (auto status = reader.status(); !status) ...   // which of the two it was
//
// A Reader that has caught up is not finished: begin(), next() or wait() go on when there is more.
class VARVE_EXPORT Reader {
 public:
  class Iterator;

  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  ~Reader();

  // The next record, or nullopt when there is none yet (or ReadOptions::until is reached). It stays
  // valid until the next call.
  //
  // Errors: Errc::corrupt names the file, the position and the offsets that are lost. The Reader then
  // stands behind the damage, so that the next call reads on with what is left.
  // Errc::offset_out_of_range: the log no longer (or never) holds next_offset(). Errc::unsupported_format: what comes
  // next is compressed by a codec that is not among Options::codecs; the Reader stays before it.
  Result<std::optional<RecordView>> next();

  // Moves to the next record and says whether there is one; see record() and status().
  bool advance() { return cursor_->take() || go_on(); }
  const RecordView& record() const noexcept { return cursor_->record; }

  // Fine, or the error that the last advance, next() or loop ended with.
  Result<void> status() const;

  // Goes to `offset`, which next() reads first.
  void seek(Offset offset) noexcept;

  // The offset of the record that comes next.
  Offset next_offset() const noexcept;

  // Waits until there is something to read (true) or the time is over (false).
  Result<bool> wait(std::chrono::milliseconds timeout);

  Iterator begin();
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  friend class Log;
  struct Impl;
  explicit Reader(std::unique_ptr<Impl> impl) noexcept;
  bool go_on();

  std::unique_ptr<Impl> impl_;
  detail::RecordCursor* cursor_;  // of impl_
};

class Reader::Iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using value_type = RecordView;
  using difference_type = std::ptrdiff_t;
  using pointer = const RecordView*;
  using reference = const RecordView&;

  Iterator() = default;
  explicit Iterator(Reader& reader) : reader_(&reader) { ++*this; }

  const RecordView& operator*() const noexcept { return reader_->record(); }
  const RecordView* operator->() const noexcept { return &reader_->record(); }
  Iterator& operator++() {
    if (!reader_->advance()) reader_ = nullptr;
    return *this;
  }
  void operator++(int) { ++*this; }

  friend bool operator==(const Iterator& iterator, std::default_sentinel_t) noexcept {
    return iterator.reader_ == nullptr;
  }

 private:
  Reader* reader_ = nullptr;
};

inline Reader::Iterator Reader::begin() { return Iterator(*this); }

}  // namespace varve::inline v0
