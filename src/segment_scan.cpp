#include "segment_scan.hpp"

#include <algorithm>

#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

class Scanner {
 public:
  Scanner(ByteSource& source, const SegmentFile& file, std::uint64_t size,
          const SegmentState& start, const ScanOptions& options)
      : source_(source),
        name_(file.name),
        limit_{std::min(size, options.stop)},
        options_(options),
        walk_(FrameReader(source, file.header.salt), start) {}

  Result<SegmentScan> run() {
    if (options_.adopt_sequence) VARVE_TRY(adopt_sequence());
    scan_.first_sequence = walk_.state().next_sequence;
    for (int looks = options_.live ? 3 : 1;; --looks) {
      if (options_.trust_start) VARVE_TRY(unbroken_run());
      scan_.end = scan_.far_end = walk_.state();
      scan_.ended = scan_.far_ended = walk_.ended();
      if (stopped_ || walk_.ended()) break;
      const Checkpoint behind = open_ ? *open_ : Checkpoint{walk_, scan_};
      VARVE_TRY(look_behind());
      if (looks == 1 || stopped_ || !scan_.torn()) break;
      // What was being written when the walk came by may be complete by now.
      walk_ = behind.walk;
      VARVE_TRY_ASSIGN(const Frame again, walk_.read());
      if (!is_good(again) || is_empty_tail(again)) break;
      if (open_ && again.state == FrameState::open && again.count == open_count_) break;
      scan_ = behind.scan;
      bad_.reset();
      open_.reset();
      empty_tail_ = false;
    }
    return std::move(scan_);
  }

 private:
  Result<void> adopt_sequence() {
    VARVE_TRY_ASSIGN(const Frame first, walk_.frames().read(walk_.state().position));
    if (first.state != FrameState::sealed) return {};
    SegmentState state = walk_.state();
    state.next_sequence = first.header.sequence;
    walk_ = SegmentWalk(walk_.frames(), state);
    return {};
  }

  Result<void> unbroken_run() {
    while (walk_.state().position < limit_ && !walk_.ended()) {
      VARVE_TRY_ASSIGN(const Frame frame, walk_.read());
      note_proof(frame);
      if (!is_good(frame)) {
        if (frame.state == FrameState::bad) scan_.what = frame.what;
        bad_ = frame;
        return {};
      }
      if (is_empty_tail(frame)) {
        empty_tail_ = true;
        visit(frame);
        return {};
      }
      if (scan_.frames == 0) scan_.begin = parse_begin(frame);
      if (options_.index != nullptr && !frame.header.is_control())
        options_.index->add(
            {frame.header.base_offset, frame.position.value, walk_.state().newest_ms});
      scan_.before_open = walk_.state();
      open_.reset();
      if (options_.live && !options_.visit && frame.state == FrameState::open) {
        open_.emplace(Checkpoint{walk_, scan_});
        open_count_ = frame.count;
      }
      walk_.accept(frame);
      ++scan_.frames;
      scan_.records += frame.count;
      scan_.compressed.add(frame);
      scan_.open_frame = frame.state == FrameState::open;
      if (!visit(frame)) return {};
    }
    return {};
  }

  // Whatever comes behind the unbroken run: islands of valid frames, and what lies between.
  Result<void> look_behind() {
    const Position from = walk_.state().position;
    const Position blank_from = empty_tail_ ? from + frame_header_bytes : from;
    VARVE_TRY_ASSIGN(const Position used, last_used(blank_from));
    if (used <= blank_from) return {};
    scan_.bytes_behind = used - from;

    Position gap_begin = from;
    std::uint64_t expected = walk_.state().next_offset;
    Position next = options_.trust_start ? from + frame_alignment : from;
    if (bad_ && bad_->header_valid) {  // only its body is damaged: nothing to look for
      next = from;
    }
    for (;;) {
      VARVE_TRY_ASSIGN(const auto found, walk_.frames().probe(next, limit_));
      if (!found) break;
      if (!scan_.first_base_behind) scan_.first_base_behind = found->header.base_offset;
      if (found->position > gap_begin || found->header.base_offset > expected)
        add_damage(gap_begin, found->position, expected, found->header.base_offset, scan_.what);
      VARVE_TRY(island(*found));
      if (stopped_) return {};
      gap_begin = next = walk_.state().position;
      expected = walk_.state().next_offset;
      if (!moved_) next = next + frame_alignment;
    }
    return {};
  }

  // Walks on from a frame that was found behind damage.
  Result<void> island(const Frame& found) {
    const Position before = found.position;
    walk_.resume_at(found);
    if (found.state == FrameState::bad) {
      note_proof(found);
      const Position end = std::min(found.end(), limit_);
      add_damage(found.position, end, found.header.base_offset, found.end_offset(), found.what);
      if (!visit(found)) return {};
      SegmentState state = walk_.state();
      // The size of an open frame is not covered by what was found valid of it.
      state.position = found.header_valid ? end : found.position + frame_header_bytes;
      state.next_offset = found.end_offset();
      state.next_sequence = found.header.sequence + (found.header.is_control() ? 0 : 1);
      if (found.header_valid) state.append_time_ms = found.header.append_time_ms;
      walk_ = SegmentWalk(walk_.frames(), state);
      if (found.header_valid) scan_.far_end = state;
    }
    while (walk_.state().position < limit_ && !walk_.ended()) {
      VARVE_TRY_ASSIGN(const Frame frame, walk_.read());
      note_proof(frame);
      if (!is_good(frame)) break;
      if (is_empty_tail(frame)) {  // where the log went on
        scan_.far_end = walk_.state();
        break;
      }
      if (frame.position == Position{segment_header_bytes}) scan_.begin = parse_begin(frame);
      walk_.accept(frame);
      ++scan_.frames_behind;
      scan_.records_behind += frame.count;
      scan_.compressed.add(frame);
      scan_.far_end = walk_.state();
      scan_.far_ended = walk_.ended();
      if (!visit(frame)) return {};
    }
    moved_ = walk_.state().position > before;
    return {};
  }

  // How far the scan had come at some place.
  struct Checkpoint {
    SegmentWalk walk;
    SegmentScan scan;
  };

  static bool is_good(const Frame& frame) noexcept {
    return frame.state == FrameState::sealed || frame.state == FrameState::open;
  }
  // The place of the next frame, not a frame yet.
  static bool is_empty_tail(const Frame& frame) noexcept {
    return frame.state == FrameState::open && frame.count == 0;
  }

  void note_proof(const Frame& frame) {
    if (is_good(frame)) scan_.epoch = std::max(scan_.epoch, frame.header.epoch);
    constexpr std::uint64_t step = 8u << 20;
    if (options_.done && frame.position.value >= reported_ + step) {
      reported_ = frame.position.value;
      options_.done(reported_);
    }
    std::optional<std::int64_t> proof;
    if (frame.state == FrameState::sealed || frame.header_valid)
      proof = durable_proof(frame.header.proven_lag(), frame.position);
    else if (frame.state != FrameState::blank)
      proof = durable_proof_of_open(frame.header.body_check, walk_.frames().salt(), frame.position);
    if (proof && (!scan_.proof || *proof > *scan_.proof)) scan_.proof = proof;
  }

  void add_damage(Position begin, Position end, std::uint64_t first, std::uint64_t last,
                  const std::string& what) {
    scan_.broken.push_back({name_, begin, end, {{first}, {std::max(first, last)}}, what});
  }

  bool visit(const Frame& frame) {
    if (options_.visit && !options_.visit(frame)) stopped_ = true;
    return !stopped_;
  }

  // Behind the last byte that is not zero, or `from` if all are.
  Result<Position> last_used(Position from) {
    constexpr std::uint64_t chunk = 256u << 10;
    Position used = from;
    for (Position at = from; at < limit_;) {
      VARVE_TRY_ASSIGN(Bytes bytes, source_.at(at, std::min(chunk, limit_ - at)));
      bytes = bytes.first(
          static_cast<std::size_t>(std::min<std::uint64_t>({bytes.size(), chunk, limit_ - at})));
      if (bytes.empty()) break;
      if (!all_zero(bytes)) {
        std::size_t end = bytes.size();
        while (bytes[end - 1] == std::byte{0}) --end;
        used = at + end;
      }
      at = at + bytes.size();
    }
    return used;
  }

  ByteSource& source_;
  std::string name_;
  Position limit_;
  const ScanOptions& options_;
  SegmentWalk walk_;
  SegmentScan scan_{};
  std::optional<Frame> bad_{};
  std::optional<Checkpoint> open_{};  // live: before an open frame that records were taken from
  std::uint32_t open_count_ = 0;      // how many
  bool empty_tail_ = false;
  bool moved_ = true;
  bool stopped_ = false;
  std::uint64_t reported_ = 0;
};

}  // namespace

Result<SegmentScan> scan_segment(ByteSource& source, const SegmentFile& file, std::uint64_t size,
                                 const SegmentState& start, const ScanOptions& options) {
  return Scanner(source, file, size, start, options).run();
}

}  // namespace varve::inline v0::detail
