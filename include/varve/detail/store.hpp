// Store: an append-only run of checked, length-prefixed frames in one file. It knows bytes and positions;
// what offsets mean is for the layers above.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "varve/detail/assert.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/format.hpp"
#include "varve/detail/try.hpp"
#include "varve/result.hpp"
#include "varve/storage.hpp"

namespace varve::inline v0::detail {

// ---- reading -----------------------------------------------------------------------------------

// Where frames are read from. One thread at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // The bytes at `position`, at least `size` of them, or all that are left if those are fewer. They stay
  // valid until the next call.
  virtual Result<Bytes> at(Position position, std::uint64_t size) = 0;
};

// Which blocks of a mapping were populated, for all who read it: populating is a system call, and what
// cannot be read is its error before it is touched.
class PopulatedBlocks {
 public:
  static constexpr std::uint64_t block_bytes = 64u << 10;

  explicit PopulatedBlocks(std::uint64_t size)
      : blocks_((size + block_bytes - 1) / block_bytes),
        bits_(std::make_unique<std::atomic<std::uint64_t>[]>((blocks_ + 63) / 64)) {}

  std::uint64_t size() const noexcept { return blocks_; }
  bool has(std::uint64_t block) const noexcept {
    return (bits_[block / 64].load(std::memory_order_relaxed) >> block % 64 & 1) != 0;
  }
  void set(std::uint64_t block) noexcept {
    bits_[block / 64].fetch_or(std::uint64_t{1} << block % 64, std::memory_order_relaxed);
  }

 private:
  std::uint64_t blocks_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> bits_;
};

// Bytes in memory: a mapping.
class MappedSource final : public ByteSource {
 public:
  // `limit`: the bytes that exist. `populated`: of mappings that this process does not write; null: none of
  // it needs to be.
  MappedSource(StorageMapping& mapping, Position limit, PopulatedBlocks* populated,
               std::string name)
      : mapping_(&mapping), limit_(limit), populated_(populated), name_(std::move(name)) {}

  void set_limit(Position limit) noexcept { limit_ = limit; }

  Result<Bytes> at(Position position, std::uint64_t size) override {
    if (position >= limit_) return Bytes{};
    const Position end = std::min(limit_, position + size);
    if (populated_ != nullptr && (position < ready_begin_ || end > ready_end_))
      VARVE_TRY(make_ready(position, end));
    if (mapping_->faulted())
      return Error(std::make_error_code(std::errc::io_error),
                   name_ + ": its bytes can no longer be read (cut short, or a failing medium)");
    return Bytes{mapping_->data() + position.value, static_cast<std::size_t>(limit_ - position)};
  }

 private:
  // Whoever walks on from what is ready gets more at once than whoever comes from elsewhere.
  Result<void> make_ready(Position position, Position end) {
    constexpr std::uint64_t block_bytes = PopulatedBlocks::block_bytes;
    constexpr std::uint64_t ahead_bytes = 1u << 20;
    const bool walking = position >= ready_begin_ && position <= ready_end_;
    const Position wanted = std::min(limit_, walking ? std::max(end, position + ahead_bytes) : end);
    const std::uint64_t first = position.value / block_bytes;
    const std::uint64_t last = (wanted.value + block_bytes - 1) / block_bytes;
    for (std::uint64_t block = first; block < last;) {
      if (populated_->has(block)) {
        ++block;
        continue;
      }
      std::uint64_t to = block + 1;
      while (to < last && !populated_->has(to)) ++to;
      VARVE_TRY(
          mapping_->populate({block * block_bytes}, std::min(limit_, Position{to * block_bytes})));
      // A block that the limit cuts through will have to be looked at again when there is more.
      for (; block < to; ++block)
        if ((block + 1) * block_bytes <= limit_.value) populated_->set(block);
    }
    ready_begin_ = {first * block_bytes};
    ready_end_ = std::min(limit_, Position{last * block_bytes});
    return {};
  }

  StorageMapping* mapping_;
  Position limit_;
  PopulatedBlocks* populated_;
  std::string name_;
  Position ready_begin_{};
  Position ready_end_{};
};

// What the medium holds of a file, past any cache, in a window that slides along.
class MediumSource final : public ByteSource {
 public:
  // `window_bytes`: what is read at once, unless more is asked for; a multiple of 4096.
  MediumSource(const StorageFile& file, std::uint64_t size, std::uint64_t window_bytes = 1u << 20)
      : file_(&file), size_(size), window_bytes_(window_bytes) {}

  Result<Bytes> at(Position position, std::uint64_t size) override {
    if (position.value >= size_) return Bytes{};
    const std::uint64_t end = std::min(size_, position.value + size);
    if (position < begin_ || end > begin_.value + filled_) VARVE_TRY(slide(position, end));
    return Bytes{window() + (position - begin_),
                 static_cast<std::size_t>(begin_.value + filled_ - position.value)};
  }

 private:
  static constexpr std::uint64_t block = 4096;

  static constexpr std::uint64_t whole_blocks(std::uint64_t bytes) noexcept {
    return (bytes + block - 1) / block * block;
  }

  std::byte* window() noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(buffer_.data());
    return buffer_.data() + (block - address % block) % block;
  }

  Result<void> slide(Position position, std::uint64_t end) {
    begin_ = {position.value / block * block};
    const std::uint64_t wanted = std::min(std::max(window_bytes_, whole_blocks(end - begin_.value)),
                                          whole_blocks(size_ - begin_.value));
    buffer_.resize(std::max<std::uint64_t>(buffer_.size(), wanted + block));
    filled_ = 0;
    VARVE_TRY_ASSIGN(filled_,
                     file_->read_medium(begin_, {window(), static_cast<std::size_t>(wanted)}));
    if (begin_.value + filled_ < end)
      return Error(std::make_error_code(std::errc::io_error),
                   "the file became shorter while it was read");
    return {};
  }

  const StorageFile* file_;
  std::uint64_t size_;
  std::uint64_t window_bytes_;
  Position begin_{};
  std::uint64_t filled_ = 0;
  std::vector<std::byte> buffer_;
};

enum class FrameState : std::uint8_t {
  blank,   // zeros: nothing was ever written here
  sealed,  // complete and verified
  open,    // being filled, or left so by a crash; what it holds is verified
  bad,     // anything else
};

// A frame as found at a position.
struct Frame {
  FrameState state = FrameState::bad;
  Position position{};
  FrameHeader header{};       // of a bad frame: whatever stands there
  Bytes body{};               // sealed: as it is stored (see native_body.hpp); open: the records
  std::uint32_t count = 0;    // of records
  std::uint64_t running = 0;  // open: the running check
  bool header_valid = false;  // of a bad frame: the header can be trusted, the body is damaged
  const char* what = "";      // of a bad frame: what is wrong with it

  Position end() const noexcept { return position + header.frame_bytes(); }

  // Behind the last offset that it covers. Needs the header only.
  std::uint64_t end_offset() const noexcept {
    return header.base_offset + (header.is_compacted() ? header.sync_lag : count);
  }
  bool good() const noexcept { return state == FrameState::sealed || state == FrameState::open; }
};

inline bool all_zero(Bytes bytes) noexcept {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Up to where some sealed or open frame proves that its segment was durable when it was written: bytes
// from the segment's start, negative if that lies in a segment before it.
inline std::optional<std::int64_t> durable_proof(std::uint32_t sync_lag, Position frame) noexcept {
  if (sync_lag == sync_lag_unknown) return std::nullopt;
  return static_cast<std::int64_t>(frame.value) - std::int64_t{sync_lag} * sync_lag_unit;
}

// The proof in the durability word that stands at a frame's place, if it is one.
inline std::optional<std::int64_t> durable_proof_of_open(std::uint64_t word, std::uint64_t salt,
                                                         Position frame) noexcept {
  if (word != durability_word(low32(word), salt, frame)) return std::nullopt;
  return durable_proof(low32(word), frame);
}

// Walks the records of an open frame from `done` to `body_bytes`, taking each into `running`.
// Returns how many there are, or nullopt if the bytes are no whole records.
inline std::optional<std::uint32_t> walk_open_records(Bytes body, std::uint64_t& running) noexcept {
  std::uint32_t count = 0;
  RecordView ignored;
  while (!body.empty()) {
    const Bytes before = body;
    if (!decode_record(body, 0, ignored)) return std::nullopt;
    running = running_check(running, checksum(before.first(before.size() - body.size())));
    ++count;
  }
  return count;
}

// Reads and verifies the frame at `position` (a multiple of 8), whatever it is. Errors are I/O errors.
class FrameReader {
 public:
  FrameReader(ByteSource& source, std::uint64_t salt) : source_(&source), salt_(salt) {}

  std::uint64_t salt() const noexcept { return salt_; }

  Result<Frame> read(Position position) const {
    Frame frame;
    frame.position = position;
    VARVE_TRY_ASSIGN(Bytes bytes, source_->at(position, frame_header_bytes));
    if (bytes.size() < frame_header_bytes) {
      frame.state = all_zero(bytes) ? FrameState::blank : FrameState::bad;
      frame.what = "the file ends within a frame header";
      return frame;
    }
    for (std::size_t at = 0; at < frame_body_target; at += 64)
      __builtin_prefetch(bytes.data() + at);
    frame.header = load_frame_header(bytes.data());
    if (frame.header.magic == frame_magic_sealed) return read_sealed(frame);
    if (frame.header.magic == frame_magic_open) return read_open(frame);
    if (all_zero(bytes.first(frame_header_bytes)))
      frame.state = FrameState::blank;
    else
      frame.what = "no frame starts here";
    return frame;
  }

  // Whether a sealed frame's header is valid, without looking at its body.
  bool valid_header(const FrameHeader& header, Position position) const noexcept {
    return header.magic == frame_magic_sealed &&
           low32(header_hash(header, salt_, position)) == header.check;
  }

  bool valid_open_header(const FrameHeader& header, Position position) const noexcept {
    return header.magic == frame_magic_open &&
           low32(open_header_hash(header, salt_, position)) == header.check;
  }

  // The first frame at or after `from` (and before `limit`) whose header is valid, whatever its body is: what a
  // scan goes on with behind damage. Salt and position in the check make a false find as good as impossible.
  Result<std::optional<Frame>> probe(Position from, Position limit) const {
    Position position{align_frame(from.value)};
    while (position + frame_header_bytes <= limit) {
      VARVE_TRY_ASSIGN(Bytes bytes, source_->at(position, std::min(probe_bytes, limit - position)));
      bytes = bytes.first(static_cast<std::size_t>(
          std::min<std::uint64_t>({bytes.size(), probe_bytes, limit - position})));
      if (bytes.size() < frame_header_bytes) break;
      std::uint64_t at = 0;
      for (; at + frame_header_bytes <= bytes.size(); at += frame_alignment) {
        const auto magic = load_le<std::uint16_t>(bytes.data() + at + 4);
        if (magic != frame_magic_sealed && magic != frame_magic_open) continue;
        const FrameHeader header = load_frame_header(bytes.data() + at);
        if (!valid_header(header, position + at) && !valid_open_header(header, position + at))
          continue;
        VARVE_TRY_ASSIGN(Frame found, read(position + at));
        return std::optional<Frame>(found);
      }
      position = position + at;
    }
    return std::optional<Frame>();
  }

 private:
  static constexpr std::uint64_t probe_bytes = 256u << 10;

  // What is intact but of another version is not damage.
  static Result<void> check_known(const FrameHeader& header) {
    const bool open = header.magic == frame_magic_open;
    if (header.version == format_version && is_known_kind(header.flags) &&
        !(open && header.is_compacted()))
      return {};
    return Error(Errc::unsupported_format, "a frame of version " + std::to_string(header.version) +
                                               " with flags " + std::to_string(header.flags));
  }

  Result<Frame> read_sealed(Frame frame) const {
    const FrameHeader& header = frame.header;
    if (!valid_header(header, frame.position)) {
      frame.what = "the frame header does not match its check";
      return frame;
    }
    VARVE_TRY(check_known(header));
    frame.header_valid = true;
    frame.count = header.count;
    VARVE_TRY_ASSIGN(
        Bytes bytes,
        source_->at(frame.position, frame_header_bytes + std::uint64_t{header.body_bytes}));
    if (bytes.size() < frame_header_bytes + std::uint64_t{header.body_bytes}) {
      frame.what = "the file ends within the frame";
      return frame;
    }
    frame.body = bytes.subspan(frame_header_bytes, header.body_bytes);
    if (checksum(frame.body) != header.body_check) {
      frame.what = "the frame body does not match its check";
      return frame;
    }
    frame.state = FrameState::sealed;
    return frame;
  }

  Result<Frame> read_open(Frame frame) const {
    const FrameHeader& header = frame.header;
    const std::uint64_t hash = open_header_hash(header, salt_, frame.position);
    frame.what = "the open frame does not match its check";
    if (low32(hash) != header.check) return frame;
    VARVE_TRY(check_known(header));
    VARVE_TRY_ASSIGN(
        Bytes bytes,
        source_->at(frame.position, frame_header_bytes + std::uint64_t{header.body_bytes}));
    if (bytes.size() < frame_header_bytes + std::uint64_t{header.body_bytes}) return frame;
    const Bytes body = bytes.subspan(frame_header_bytes, header.body_bytes);

    frame.running = hash;
    // A frame with flags is written whole; until then nothing is in it.
    if (header.flags != 0 && !body.empty()) return frame;
    if (const auto count = walk_open_records(body, frame.running);
        count && high32(frame.running) == header.count) {
      frame.count = *count;
      frame.body = body;
      frame.state = FrameState::open;
      return frame;
    }
    // A process that died between the last two stores of sealing left a whole sealed frame behind, but
    // for its first word.
    if (checksum(body) != header.body_check) return frame;
    const auto sealed = Body::parse(body, header.count);
    if (!sealed) return frame;
    frame.running = hash;
    const auto count = walk_open_records(sealed->records(), frame.running);
    if (!count || *count != header.count) return frame;
    frame.count = *count;
    frame.body = sealed->records();
    frame.header.body_check = 0;  // not a durability word
    frame.state = FrameState::open;
    return frame;
  }

  ByteSource* source_;
  std::uint64_t salt_;
};

// ---- writing -----------------------------------------------------------------------------------

// What a frame says of itself besides its bytes.
struct FrameFields {
  std::uint64_t base_offset = 0;
  std::uint64_t sequence = 0;
  std::int64_t append_time_ms = 0;
  std::uint32_t epoch = 0;
  std::uint8_t flags = 0;

  FrameHeader header() const noexcept {
    FrameHeader header;
    header.version = format_version;
    header.flags = flags;
    header.base_offset = base_offset;
    header.sequence = sequence;
    header.append_time_ms = append_time_ms;
    header.epoch = epoch;
    return header;
  }
};

// What a header says of its frame's body.
struct BodySum {
  BodySum(std::uint32_t size, std::uint64_t sum) noexcept : bytes(size), check(sum) {}
  explicit BodySum(Bytes body) noexcept
      : bytes(static_cast<std::uint32_t>(body.size())), check(checksum(body)) {}

  std::uint32_t bytes;
  std::uint64_t check;
};

// Completes a header for a frame that stands at `position`. `sync_lag`: of a compacted one, its span.
inline void seal_header(FrameHeader& header, BodySum body, std::uint32_t count,
                        std::uint32_t sync_lag, std::uint64_t salt, Position position) noexcept {
  header.magic = frame_magic_sealed;
  header.body_bytes = body.bytes;
  header.count = count;
  header.sync_lag = sync_lag;
  header.body_check = body.check;
  header.check = low32(header_hash(header, salt, position));
}

// Appends frames into a mapped file. One thread at a time; readers may follow along.
//
// There is always an open frame at the end, as long as a header fits: records are added to it one
// append at a time, and sealing it starts the next one. Space is never reused, so what lies behind the end is zero.
class StoreWriter {
 public:
  // Continues at `end` in the mapping at `base`. The caller sees to it that there is room.
  StoreWriter(std::byte* base, std::uint64_t salt, Position end)
      : base_(base), salt_(salt), position_(end) {}

  Position position() const noexcept { return position_; }           // of the open frame
  std::uint64_t open_bytes() const noexcept { return open_bytes_; }  // records in it
  std::uint32_t open_count() const noexcept { return static_cast<std::uint32_t>(ends_.size()); }

  // How many records the open frame may get without an allocation.
  std::size_t open_count_max() const noexcept { return ends_.capacity(); }

  // Where the file's used part ends once the open frame is sealed.
  Position end_if_sealed() const noexcept { return end_with(0, 0); }

  // The same with `count` more records of `bytes` in all.
  Position end_with(std::uint64_t bytes, std::uint64_t count) const noexcept {
    if (ends_.empty() && count == 0) return position_;
    return position_ + frame_header_bytes +
           align_frame(body_size(open_bytes_ + bytes, ends_.size() + count));
  }

  // (Re)starts the open frame, which must be empty.
  void open(const FrameFields& fields, std::uint32_t sync_lag) noexcept {
    VARVE_ASSERT(ends_.empty());
    header_ = fields.header();
    header_.magic = frame_magic_open;
    running_ = open_header_hash(header_, salt_, position_);
    header_.check = low32(running_);
    header_.count = high32(running_);
    header_.body_check = durability_word(sync_lag, salt_, position_);
    store_header();
  }

  std::int64_t open_time_ms() const noexcept { return header_.append_time_ms; }

  // Says in the open frame how far behind it the durable end is.
  void certify(std::uint32_t sync_lag) noexcept {
    store_release(at(position_) + 48, durability_word(sync_lag, salt_, position_));
  }

  // Where the next record of the open frame goes.
  std::byte* tail() noexcept { return at(position_) + frame_header_bytes + open_bytes_; }

  // Makes room to add `count` records without any allocation. May throw std::bad_alloc.
  void reserve(std::size_t count) {
    constexpr std::size_t usual = 64;  // of a frame of small records
    if (ends_.capacity() < ends_.size() + count)
      ends_.reserve(std::max({usual, ends_.size() + count, 2 * ends_.capacity()}));
  }

  // Takes in a record that was encoded at tail(), which ends at `end`. Nobody sees it yet. `publishing`:
  // publish() will be called, not only seal(), so the running check is needed.
  void add(const std::byte* end, bool publishing) noexcept {
    const std::byte* begin = tail();
    const auto size = static_cast<std::size_t>(end - begin);
    if (publishing) running_ = running_check(running_, checksum({begin, size}));
    open_bytes_ += size;
    ends_.push_back(static_cast<std::uint32_t>(open_bytes_));
  }

  // Shows all records taken in so far to other processes, and to whoever recovers this one's death.
  void publish() noexcept {
    store_release(at(position_) + 8,
                  pack(static_cast<std::uint32_t>(open_bytes_), high32(running_)));
  }

  // Seals the open frame, if there is anything in it, and moves behind it. The caller opens the next.
  void seal(std::uint32_t sync_lag) noexcept {
    if (ends_.empty()) return;
    const auto count = static_cast<std::uint32_t>(ends_.size());
    const std::uint64_t size = body_size(open_bytes_, count);
    const std::uint32_t width = table_width(size);
    std::byte* table = tail();
    for (std::uint32_t i = 0; i < count; ++i) put_end(table, width, i, ends_[i]);
    finish(BodySum(Bytes(at(position_) + frame_header_bytes, static_cast<std::size_t>(size))),
           count, sync_lag);
    ends_.clear();
    open_bytes_ = 0;
  }

  // Writes a whole frame at the end, in place of the open one, which must be empty. See seal_header().
  void write(const FrameFields& fields, Bytes body, std::uint32_t count,
             std::uint32_t sync_lag) noexcept {
    write(fields, body, count, sync_lag, checksum(body));
  }

  // The same with a body whose checksum is known.
  void write(const FrameFields& fields, Bytes body, std::uint32_t count, std::uint32_t sync_lag,
             std::uint64_t body_check) noexcept {
    put_bytes(at(position_) + frame_header_bytes, body);
    finish_placed(fields, {static_cast<std::uint32_t>(body.size()), body_check}, count, sync_lag);
  }

  // The same with a body that stands in its place already.
  void finish_placed(const FrameFields& fields, BodySum body, std::uint32_t count,
                     std::uint32_t sync_lag) noexcept {
    VARVE_ASSERT(ends_.empty());
    header_ = fields.header();
    finish(body, count, sync_lag);
  }

 private:
  std::byte* at(Position position) noexcept { return base_ + position.value; }

  // The stores that make a sealed frame of what stands at position_, in an order that leaves something
  // valid behind wherever the process dies: FrameReader::read_open takes either form.
  void finish(BodySum body, std::uint32_t count, std::uint32_t sync_lag) noexcept {
    std::byte* frame = at(position_);
    seal_header(header_, body, count, sync_lag, salt_, position_);
    store_release(frame + 48, header_.body_check);
    store_release(frame + 40, pack(header_.sync_lag, header_.epoch));
    store_release(frame + 32, static_cast<std::uint64_t>(header_.append_time_ms));
    store_release(frame + 24, header_.sequence);
    store_release(frame + 16, header_.base_offset);
    store_release(frame + 8, pack(header_.body_bytes, header_.count));
    store_word0(frame);
    position_ = position_ + frame_header_bytes + align_frame(header_.body_bytes);
  }

  void store_header() noexcept {
    std::byte* frame = at(position_);
    for (int word = 6; word >= 1; --word) store_release(frame + 8 * word, header_word(word));
    store_word0(frame);
  }

  void store_word0(std::byte* frame) noexcept {
    store_release(frame, header_.check | std::uint64_t{header_.magic} << 32 |
                             std::uint64_t{header_.version} << 48 |
                             std::uint64_t{header_.flags} << 56);
  }

  std::uint64_t header_word(int word) const noexcept {
    switch (word) {
      case 1:
        return pack(header_.body_bytes, header_.count);
      case 2:
        return header_.base_offset;
      case 3:
        return header_.sequence;
      case 4:
        return static_cast<std::uint64_t>(header_.append_time_ms);
      case 5:
        return pack(header_.sync_lag, header_.epoch);
      default:
        return header_.body_check;
    }
  }

  std::byte* base_;
  std::uint64_t salt_;
  Position position_;
  FrameHeader header_{};
  std::uint64_t running_ = 0;
  std::uint64_t open_bytes_ = 0;
  std::vector<std::uint32_t> ends_;  // of the records in the open frame; kept for its capacity
};

}  // namespace varve::inline v0::detail
