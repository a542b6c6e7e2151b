#include "compactor.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <thread>
#include <utility>

#include "clock.hpp"
#include "system_error.hpp"
#include "varve/detail/codec.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/frame_records.hpp"
#include "varve/detail/try.hpp"

namespace varve::inline v0::detail {
namespace {

constexpr std::uint64_t output_bytes_max = std::uint64_t{1} << 31;  // positions have 32 bits

// Frames of so few records are worth being merged: what tells their offsets takes less than a header.
constexpr std::size_t few_records = frame_header_bytes / compacted_delta_bytes - 1;

std::int64_t add_time(std::int64_t time_ms, std::chrono::milliseconds more) noexcept {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  return time_ms > most - more.count() ? most : time_ms + more.count();
}

// A segment's file in the making: frames, one behind the other, through a buffer.
class SegmentOutput {
 public:
  SegmentOutput(StorageFile& file, const SegmentHeader& header, GrowingIndex& index)
      : file_(file), header_(header), index_(index) {}

  // `newest_ms`: the greatest timestamp of its records. `sync_lag`: of a compacted frame, its span.
  Result<void> append(const FrameFields& fields, Bytes body, std::uint32_t count,
                      std::uint32_t sync_lag, std::int64_t newest_ms) {
    FrameHeader header = fields.header();
    seal_header(header, BodySum(body), count, sync_lag, header_.salt, position_);
    if (position_.value + header.frame_bytes() > output_bytes_max) {
      return Error(std::make_error_code(std::errc::file_too_large),
                   compact_name({fields.base_offset}) + ": what is left does not fit a segment");
    }
    const std::size_t at = buffer_.size();
    buffer_.resize(at + static_cast<std::size_t>(header.frame_bytes()));
    store_header_words(buffer_.data() + at, header);
    put_bytes(buffer_.data() + at + frame_header_bytes, body);
    if (!header.is_control()) index_.add({fields.base_offset, position_.value, newest_ms_});
    newest_ms_ = std::max(newest_ms_, newest_ms);
    position_ = position_ + header.frame_bytes();
    return buffer_.size() < buffer_bytes ? Result<void>() : flush();
  }

  // Makes it durable, but for its name.
  Result<void> finish() {
    VARVE_TRY(flush());
    header_.capacity = static_cast<std::uint32_t>((position_.value + 4095) / 4096 * 4096);
    std::array<std::byte, segment_header_bytes> block{};
    store_segment_header(block.data(), header_);
    VARVE_TRY(file_.write_at({0}, block));
    return file_.sync();
  }

  Position position() const noexcept { return position_; }
  std::int64_t newest_ms() const noexcept { return newest_ms_; }

 private:
  static constexpr std::size_t buffer_bytes = 1u << 20;

  Result<void> flush() {
    VARVE_TRY(file_.write_at({position_.value - buffer_.size()}, buffer_));
    buffer_.clear();
    return {};
  }

  StorageFile& file_;
  SegmentHeader header_;
  GrowingIndex& index_;
  Position position_{segment_header_bytes};
  std::int64_t newest_ms_ = no_time;
  std::vector<std::byte> buffer_;
};

}  // namespace

struct Compactor::Judged {
  struct Record {
    std::uint64_t offset = 0;
    Bytes bytes{};
  };
  std::vector<Record> kept{};
  std::uint64_t bytes = 0;  // of these
  std::uint64_t superseded = 0;
  std::uint64_t expired = 0;
  std::uint64_t tombstones = 0;      // kept
  std::int64_t newest_ms = no_time;  // of these
  std::uint64_t sequences = 0;
  std::int64_t base_time_ms = 0;      // what their times count from
  std::int64_t horizon_ms = no_time;  // as it is to be
  bool changed = false;
};

// Turns frames into those that are left of them: what lost records is merged with its neighbours, up to about the
// usual size of a frame; what did not, and is not small, is taken as it is.
class Compactor::Merger {
 public:
  explicit Merger(SegmentOutput& output) : output_(output) {}

  Result<void> add(const Frame& frame, const Judged& judged) {
    const FrameHeader& header = frame.header;
    const bool small = !header.is_compressed() && judged.kept.size() <= few_records &&
                       frame.body.size() < frame_body_target / 2;
    if (!judged.changed && !small && frame.state == FrameState::sealed) {
      VARVE_TRY(flush());
      return output_.append(
          {header.base_offset, header.sequence, header.append_time_ms, header.epoch, header.flags},
          frame.body, frame.count, header.is_compacted() ? header.sync_lag : sync_lag_unknown,
          judged.newest_ms);
    }
    if (!takes(frame, judged)) VARVE_TRY(flush());
    if (!any_) {
      any_ = true;
      fields_ = {header.base_offset, header.sequence, header.append_time_ms, header.epoch, 0};
    }
    end_offset_ = frame.end_offset();
    end_sequence_ = header.sequence + judged.sequences;
    if (judged.kept.empty()) return {};
    fields_.append_time_ms = header.append_time_ms;
    if (judged.tombstones > 0) {
      has_tombstones_ = true;
      horizon_ms_ = judged.horizon_ms;
    }
    newest_ms_ = std::max(newest_ms_, judged.newest_ms);
    for (const Judged::Record& record : judged.kept) {
      bytes_.insert(bytes_.end(), record.bytes.begin(), record.bytes.end());
      records_.push_back({record.offset, bytes_.size(), judged.base_time_ms});
    }
    return {};
  }

  // Writes the frame that was gathered.
  Result<void> flush() {
    if (!any_) return {};
    const auto count = static_cast<std::uint32_t>(records_.size());
    const std::uint64_t span = end_offset_ - fields_.base_offset;
    const std::uint64_t sequences = end_sequence_ - fields_.sequence;
    const bool dense = count == span && sequences == 1 && horizon_ms_ == no_time;
    const std::size_t head =
        dense ? 0 : compacted_prefix_bytes + std::size_t{compacted_delta_bytes} * count;
    body_.resize(head + bytes_.size() + (varint_bytes_max + 4) * count);
    if (!dense) {
      store_le(body_.data(), sequences);
      store_le(body_.data() + 8, horizon_ms_);
    }
    ends_.clear();
    std::byte* const begin = body_.data() + head;
    std::byte* out = begin;
    std::size_t at = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const Kept& record = records_[i];
      if (!dense) {
        store_le(body_.data() + compacted_prefix_bytes + std::size_t{compacted_delta_bytes} * i,
                 static_cast<std::uint32_t>(record.offset - fields_.base_offset));
      }
      out = rebase_record(out, Bytes(bytes_).subspan(at, record.end - at), record.base_time_ms,
                          fields_.append_time_ms);
      at = record.end;
      ends_.push_back(static_cast<std::uint32_t>(out - begin));
    }
    const std::uint64_t size = body_size(static_cast<std::uint64_t>(out - begin), count);
    for (std::uint32_t i = 0; i < count; ++i) put_end(out, table_width(size), i, ends_[i]);
    fields_.flags = dense ? 0 : flag_compacted;
    VARVE_TRY(output_.append(fields_, Bytes(body_).first(head + static_cast<std::size_t>(size)),
                             count, dense ? sync_lag_unknown : static_cast<std::uint32_t>(span),
                             newest_ms_));
    any_ = has_tombstones_ = false;
    horizon_ms_ = newest_ms_ = no_time;
    bytes_.clear();
    records_.clear();
    return {};
  }

 private:
  struct Kept {
    std::uint64_t offset = 0;
    std::size_t end = 0;  // in bytes_
    std::int64_t base_time_ms = 0;
  };

  // Whether what is left of a frame can join what was gathered so far.
  bool takes(const Frame& frame, const Judged& judged) const noexcept {
    if (!any_) return true;
    if (frame.header.epoch != fields_.epoch ||
        frame.end_offset() - fields_.base_offset > compacted_span_max)
      return false;
    if (judged.kept.empty() || records_.empty()) return true;
    const bool both = judged.tombstones > 0 && has_tombstones_;
    return bytes_.size() + judged.bytes <= frame_body_target &&
           (!both || judged.horizon_ms == horizon_ms_);
  }

  SegmentOutput& output_;
  bool any_ = false;
  bool has_tombstones_ = false;
  FrameFields fields_{};
  std::uint64_t end_offset_ = 0;
  std::uint64_t end_sequence_ = 0;
  std::int64_t horizon_ms_ = no_time;
  std::int64_t newest_ms_ = no_time;
  std::vector<std::byte> bytes_;  // of the records, as they stood
  std::vector<Kept> records_;
  std::vector<std::byte> body_;
  std::vector<std::uint32_t> ends_;
};

Compactor::Compactor(LogCore& core, std::vector<SegmentMeta> sealed, std::uint64_t cleaned,
                     const Compaction& how, Pace pace, const Progress& progress)
    : core_(core),
      sealed_(std::move(sealed)),
      cleaned_(cleaned),
      how_(how),
      pace_(pace),
      progress_(progress),
      now_ms_(now_ms(core.options.environment.get(), Precision::exact)) {
  for (const SegmentMeta& meta : sealed_) {
    total_bytes_ += meta.end_position;
    if (meta.end_offset > cleaned_) total_bytes_ += meta.end_position;
  }
}

// ---- reading -----------------------------------------------------------------------------------

// Where a pass may be given up, and where it waits so as not to be in anybody's way.
Result<void> Compactor::spent(std::uint64_t bytes) {
  constexpr std::chrono::milliseconds nap{20};
  done_bytes_ += bytes;
  if (progress_) progress_(std::min(done_bytes_, total_bytes_), total_bytes_);
  for (;;) {
    if (core_.closed.load()) return Error(Errc::closed, "compaction was given up");
    if (core_.failure.happened()) return core_.failure.answer();
    if (pace_ == Pace::free || how_.bytes_per_second == 0) return {};
    const std::chrono::duration<double> least(static_cast<double>(done_bytes_) /
                                              static_cast<double>(how_.bytes_per_second));
    const auto left = least - (std::chrono::steady_clock::now() - begin_);
    if (left <= left.zero()) return {};
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(left, nap));
  }
}

template <class Visit>
Result<bool> Compactor::walk(const SegmentMeta& meta, Visit visit) {
  constexpr std::uint64_t step_bytes = 256u << 10;
  auto opened = open_listed(*core_.storage, meta, core_.log);
  if (!opened && (opened.error() == Errc::corrupt || opened.error() == Errc::unsupported_format))
    return false;
  if (!opened) return opened.error();
  SegmentFile& file = **opened;
  VARVE_TRY_ASSIGN(const std::uint64_t size, file.file->size());
  if (size < meta.end_position) return false;
  VARVE_TRY(file.map(meta.end_position, MapMode::read));
  MappedSource source(*file.mapping, {meta.end_position}, file.populated.get(), file.name);
  SegmentState start;
  start.next_offset = meta.base_offset;
  start.next_sequence = meta.base_sequence;
  SegmentWalk walk(FrameReader(source, file.header.salt), start);
  const Position end{meta.end_position};
  Position told{};
  while (walk.state().position < end) {
    const auto frame = walk.read();
    if (!frame && frame.error() == Errc::unsupported_format) return false;
    if (!frame) return frame.error();
    if (!frame->good() || control_kind(*frame) == ControlKind::gap) return false;
    VARVE_TRY_ASSIGN(const bool more, visit(*frame));
    if (!more) return true;
    walk.accept(*frame);
    if (walk.state().position - told >= step_bytes || walk.state().position >= end) {
      VARVE_TRY(spent(walk.state().position - told));
      told = walk.state().position;
    }
  }
  if (file.mapping->faulted())
    return Error(std::make_error_code(std::errc::io_error), file.name + ": the medium failed");
  return walk.state().position == end && walk.state().next_offset == meta.end_offset &&
         walk.state().next_sequence == meta.end_sequence;
}

// Notes the keys of what was not looked at yet, until all of it is noted or the map is full.
Result<void> Compactor::fill_map() {
  const std::uint64_t end = sealed_.empty() ? cleaned_ : sealed_.back().end_offset;
  map_end_ = std::min(cleaned_, end);
  std::uint64_t records = 0;
  for (const SegmentMeta& meta : sealed_)
    if (meta.end_offset > cleaned_)
      records += meta.end_offset - std::max(cleaned_, meta.base_offset);
  VARVE_TRY_ASSIGN(map_, KeyMap::make(how_.key_map_bytes, records,
                                      random_bits(core_.options.environment.get())));
  report_.key_map_bytes = map_->bytes();
  bool full = false;
  for (const SegmentMeta& meta : sealed_) {
    if (meta.end_offset <= cleaned_) continue;
    VARVE_TRY_ASSIGN([[maybe_unused]] const bool whole,
                     walk(meta, [&](const Frame& frame) -> Result<bool> {
                       if (frame.header.is_control() || frame.end_offset() <= cleaned_) return true;
                       VARVE_TRY_ASSIGN(const auto held, records_of(frame, meta));
                       if (!held) return false;
                       Bytes left = held->records();
                       RecordView record;
                       for (std::uint32_t i = 0; i < frame.count; ++i) {
                         if (!decode_record(left, held->base_time_ms(), record)) return false;
                         const std::uint64_t offset = held->offset_of(i);
                         if (offset < cleaned_ || !record.key || map_->put(*record.key, offset))
                           continue;
                         full = true;
                         map_end_ = offset;
                         return false;
                       }
                       return true;
                     }));
    if (full) break;
    map_end_ = meta.end_offset;
  }
  report_.keys = map_->size();
  report_.cleaned = {map_end_};
  return {};
}

// ---- deciding ----------------------------------------------------------------------------------

Compactor::Verdict Compactor::verdict(const RecordView& record, std::int64_t horizon_ms,
                                      bool tombstones_may_go) const {
  const std::uint64_t offset = record.offset.value;
  if (!record.key || offset >= map_end_) return Verdict::keep;
  if (const auto latest = map_->find(*record.key); latest && *latest > offset)
    return Verdict::superseded;
  const bool over = !record.value && horizon_ms != no_time && now_ms_ >= horizon_ms;
  return over && tombstones_may_go ? Verdict::expired : Verdict::keep;
}

// Nullopt: what is in the frame cannot be known. Not for want of a codec: a later pass, with it, would take for granted that
// this one had compared the keys.
Result<std::optional<FrameRecords>> Compactor::records_of(const Frame& frame,
                                                          const SegmentMeta& meta) {
  const auto native = native_body(frame, meta.name(), core_.options.codecs, unpacked_);
  if (native) return FrameRecords::parse(frame, *native);
  if (native.error() == Errc::corrupt) return std::optional<FrameRecords>();
  return native.error();
}

// False: what is in the frame cannot be known. What is kept stays valid until the next frame is judged.
Result<bool> Compactor::judge(const Frame& frame, const SegmentMeta& meta, bool tombstones_may_go,
                              Judged& judged) {
  judged.kept.clear();
  judged.bytes = judged.superseded = judged.expired = judged.tombstones = 0;
  judged.newest_ms = judged.horizon_ms = no_time;
  VARVE_TRY_ASSIGN(const auto records, records_of(frame, meta));
  if (!records) return false;
  judged.sequences = records->sequences();
  judged.base_time_ms = records->base_time_ms();
  Bytes left = records->records();
  RecordView record;
  bool all_seen = true;  // tombstones
  for (std::uint32_t i = 0; i < frame.count; ++i) {
    const Bytes before = left;
    if (!decode_record(left, judged.base_time_ms, record)) return false;
    record.offset = {records->offset_of(i)};
    switch (verdict(record, records->horizon_ms(), tombstones_may_go)) {
      case Verdict::superseded:
        ++judged.superseded;
        continue;
      case Verdict::expired:
        ++judged.expired;
        continue;
      case Verdict::keep:
        break;
    }
    if (record.key && !record.value) {
      ++judged.tombstones;
      all_seen = all_seen && record.offset.value < map_end_;
    }
    judged.newest_ms = std::max(judged.newest_ms, record.timestamp.time_since_epoch().count());
    judged.kept.push_back({record.offset.value, before.first(before.size() - left.size())});
    judged.bytes += judged.kept.back().bytes.size();
  }
  if (judged.tombstones > 0) {
    judged.horizon_ms = records->horizon_ms();
    // Counted from the first pass that knows the key of each.
    if (judged.horizon_ms == no_time && all_seen)
      judged.horizon_ms = add_time(now_ms_, how_.delete_retention);
  }
  judged.changed = judged.superseded + judged.expired > 0 ||
                   (judged.tombstones > 0 && judged.horizon_ms != records->horizon_ms());
  return true;
}

Result<void> Compactor::plan() {
  VARVE_TRY(fill_map());
  plans_.resize(sealed_.size());
  for (std::size_t i = 0; i < sealed_.size(); ++i) VARVE_TRY(plan_segment(i));
  form_groups();
  ++report_.passes;
  report_.segments_before = report_.segments_after = sealed_.size();
  for (std::size_t i = 0; i < sealed_.size(); ++i) {
    report_.bytes_before += sealed_[i].end_position;
    report_.records_before += plans_[i].records;
    if (plans_[i].looked_at && !plans_[i].whole) ++report_.segments_left_alone;
    report_.records_removed += plans_[i].records_removed;
    report_.tombstones_removed += plans_[i].tombstones_removed;
    report_.tombstones_kept += plans_[i].tombstones_kept;
  }
  report_.bytes_after = report_.bytes_before;
  for (const Group& group : groups_) {
    report_.segments_after -= group.last - group.first - 1;
    report_.bytes_after -= (group.last - group.first - 1) * segment_header_bytes;
    for (std::size_t i = group.first; i < group.last; ++i) {
      total_bytes_ += sealed_[i].end_position;
      report_.bytes_after -= sealed_[i].end_position;
      report_.bytes_after += plans_[i].bytes;
    }
  }
  return {};
}

Result<void> Compactor::plan_segment(std::size_t i) {
  Plan plan;
  if (i > 0) plan.tombstones_may_go = plans_[i - 1].tombstones_may_go;
  if (sealed_[i].base_offset >= map_end_) {
    plans_[i] = Plan{.looked_at = false, .whole = false, .bytes = sealed_[i].end_position};
    return {};
  }
  Judged judged;
  bool known = true;
  bool compressed = false;  // frames are
  VARVE_TRY_ASSIGN(
      plan.whole, walk(sealed_[i], [&](const Frame& frame) -> Result<bool> {
        if (frame.header.is_control()) {
          plan.bytes += frame.header.frame_bytes();
          return true;
        }
        VARVE_TRY_ASSIGN(known, judge(frame, sealed_[i], plan.tombstones_may_go, judged));
        if (!known) return false;
        compressed = compressed || frame.header.is_compressed();
        plan.records += frame.count;
        plan.records_removed += judged.superseded;
        plan.tombstones_removed += judged.expired;
        plan.tombstones_kept += judged.tombstones;
        plan.changes = plan.changes || judged.changed;
        if (!judged.changed) {
          plan.bytes += frame.header.frame_bytes();
        } else if (!judged.kept.empty()) {
          constexpr std::uint64_t table_bytes = compacted_delta_bytes + 2;
          plan.bytes += frame_header_bytes + align_frame(compacted_prefix_bytes + judged.bytes +
                                                         table_bytes * judged.kept.size());
        }
        return true;
      }));
  plan.bytes += segment_header_bytes;
  plan.whole = plan.whole && known;
  // Compressed batches that lose records are written plain, which may take more than it gains, or than a segment holds.
  const bool grows = plan.bytes > sealed_[i].end_position && compressed;
  if (!plan.whole || (plan.changes && grows)) {
    // What it supersedes stays superseded, but what may be superseded in it is still there.
    plan = Plan{.whole = false, .tombstones_may_go = false, .bytes = sealed_[i].end_position};
  }
  plans_[i] = plan;
  return {};
}

// Neighbours whose rests fit one segment become one.
void Compactor::form_groups() {
  const std::uint64_t most = core_.options.segment_bytes;
  for (std::size_t first = 0; first < sealed_.size();) {
    std::size_t last = first + 1;
    bool changes = plans_[first].changes;
    std::uint64_t bytes = plans_[first].bytes;
    const auto joins = [&](std::size_t i) {
      const SegmentMeta& before = sealed_[i - 1];
      const SegmentMeta& meta = sealed_[i];
      return plans_[i - 1].whole && plans_[i].whole &&
             bytes + plans_[i].bytes - segment_header_bytes <= most &&
             before.end_offset == meta.base_offset && before.end_sequence == meta.base_sequence &&
             before.next_position() == meta.base_position;
    };
    for (; last < sealed_.size() && joins(last); ++last) {
      bytes += plans_[last].bytes - segment_header_bytes;
      changes = changes || plans_[last].changes;
    }
    if (changes || last - first > 1) groups_.push_back({first, last});
    first = last;
  }
}

// ---- writing -----------------------------------------------------------------------------------

Result<Rewritten> Compactor::rewrite(const Group& group) {
  const SegmentMeta& first = sealed_[group.first];
  const SegmentMeta& last = sealed_[group.last - 1];
  Environment* const environment = core_.options.environment.get();
  SegmentHeader header;
  header.log = core_.log;
  header.id = compacted_id | random_bits(environment);
  header.salt = random_bits(environment);
  header.created_ms = now_ms_;

  Rewritten made;
  made.index = std::make_unique<GrowingIndex>(core_.options.index_interval_bytes);
  VARVE_TRY_ASSIGN(const auto file,
                   core_.storage->open(compact_name({first.base_offset}), OpenMode::create));
  SegmentOutput output(*file, header, *made.index);
  Merger merger(output);
  Judged judged;
  FrameFields ending;  // of the last frame
  bool known = true;
  for (std::size_t i = group.first; i < group.last; ++i) {
    made.replaced.push_back(sealed_[i]);
    VARVE_TRY_ASSIGN(
        const bool whole, walk(sealed_[i], [&](const Frame& frame) -> Result<bool> {
          const FrameHeader& from = frame.header;
          ending.append_time_ms = from.append_time_ms;
          ending.epoch = from.epoch;
          if (!from.is_control()) {
            VARVE_TRY_ASSIGN(known, judge(frame, sealed_[i], plans_[i].tombstones_may_go, judged));
            if (!known) return false;
            VARVE_TRY(merger.add(frame, judged));
          } else if (i == group.first && parse_begin(frame)) {
            // It stands where it stood, so what it proves is as true as it was.
            VARVE_TRY(output.append(
                {from.base_offset, from.sequence, from.append_time_ms, from.epoch, flag_control},
                frame.body, 0, from.sync_lag, no_time));
          }
          return true;
        }));
    if (!whole || !known) return damage_error(sealed_[i].name(), "it cannot be read any more");
  }
  VARVE_TRY(merger.flush());
  ending.base_offset = last.end_offset;
  ending.sequence = last.end_sequence;
  ending.flags = flag_control;
  std::array<std::byte, end_body_bytes> end{};
  store_le(end.data(), static_cast<std::uint32_t>(ControlKind::segment_end));
  VARVE_TRY(output.append(ending, end, 0, sync_lag_unknown, no_time));
  VARVE_TRY(output.finish());

  made.meta = first;
  made.meta.id = header.id;
  made.meta.end_offset = last.end_offset;
  made.meta.end_sequence = last.end_sequence;
  made.meta.newest_ms = output.newest_ms();
  made.meta.end_position = static_cast<std::uint32_t>(output.position().value);
  made.meta.replaced =
      Replaced{last.next_position() - first.base_position, last.named_id(), last.named_end()};
  return made;
}

Result<CompactionReport> preview_compaction(LogCore& core, const std::vector<SegmentMeta>& sealed,
                                            const Progress& progress) {
  const auto begin = std::chrono::steady_clock::now();
  Compactor compactor(core, sealed, core.cleaned.load(),
                      core.options.compaction.value_or(Compaction{}), Pace::free, progress);
  VARVE_TRY(compactor.plan());
  CompactionReport report = compactor.report();
  report.dry_run = true;
  report.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  return report;
}

Result<bool> name_compacted(StorageBackend& storage, LogId log, const SegmentMeta& meta) {
  const std::string name = compact_name({meta.base_offset});
  auto file = SegmentFile::open(storage, name, OpenMode::read, log, meta.id);
  if (!file) {
    if (is_missing(file.error()) || file.error() == Errc::corrupt) return false;
    return file.error();
  }
  file->reset();
  VARVE_TRY(storage.rename(name, meta.name()));
  // The index is that of what it replaces.
  if (auto removed = storage.remove(index_name({meta.base_offset}));
      !removed && !is_missing(removed.error()))
    return removed.error();
  return true;
}

}  // namespace varve::inline v0::detail
