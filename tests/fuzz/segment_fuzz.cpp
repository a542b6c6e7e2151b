// A whole log of one or two segments whose files hold any bytes: opened for reading, verified, opened for append,
// appended to, reopened, salvaged.
//
// An input is a LogImage; its mode says what is done with it. With `deep` the checks are made to fit what the bytes
// are, so that the code behind them is reached. That is no model of rot, which the checks stop, but of bugs in what
// wrote the log, and of adversaries, whom varve does not promise anything: only what holds without trust in any
// byte is asked for then (nothing beyond memory's bounds, no endless loop, no boundless allocation, the same answer
// twice, files untouched by whoever does not succeed in opening them for append).
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "fuzz/guarded_storage.hpp"
#include "fuzz/log_image.hpp"
#include "manifest.hpp"
#include "varve/inspect.hpp"
#include "varve/log.hpp"
#include "varve/salvage.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace varve {
namespace {

using namespace detail;
using fuzz::Buffer;
using fuzz::copy_files;
using fuzz::Files;
using fuzz::LogImage;
using fuzz::must;
using fuzz::reseal_segment;

enum Mode : std::uint8_t {
  deep = 1,
  renumber = 2,  // deep: frames continue one another, whatever they say
  fitting = 4,   // the manifest is made for what the segments are by now, not the input's
  clean = 8,     // fitting: as of a log that was closed
  no_manifest = 16,
  strict = 32,  // Recovery::fail_on_any_damage
  fill = 64,    // append until the log rolls
};

// ---- the files ---------------------------------------------------------------------------------

// The unbroken run of frames of a segment, as the manifest would tell of it.
std::optional<SegmentMeta> measure_segment(const Buffer& file, SegmentMeta meta) {
  const auto header = parse_segment_header(file, "");
  if (!header) return std::nullopt;
  test::BufferSource source(file);
  SegmentState state;
  state.next_offset = meta.base_offset;
  state.next_sequence = meta.base_sequence;
  SegmentWalk walk(FrameReader(source, header->salt), state);
  while (!walk.ended()) {
    const auto frame = walk.read();
    if (!frame || !frame->good()) break;
    if (frame->state == FrameState::open) break;  // a log is not closed with one
    walk.accept(*frame);
  }
  meta.id = header->id;
  meta.end_offset = walk.state().next_offset;
  meta.end_sequence = walk.state().next_sequence;
  meta.end_position = static_cast<std::uint32_t>(walk.state().position.value);
  meta.newest_ms = walk.state().newest_ms;
  return meta;
}

struct Segment {
  Offset base{};
  Buffer file{};
};

Manifest fit_manifest(const std::vector<Segment>& segments, bool closed) {
  Manifest manifest;
  manifest.clean = closed;
  for (const auto& [base, file] : segments) {
    SegmentMeta meta;
    meta.base_offset = base.value;
    if (!manifest.segments.empty()) {
      const SegmentMeta& before = manifest.segments.back();
      meta.base_sequence = before.end_sequence;
      meta.base_position = before.base_position + before.end_position;
    }
    const auto measured = measure_segment(file, meta);
    if (!measured) break;
    meta = *measured;
    if (manifest.segments.empty()) {
      manifest.start_offset = meta.base_offset;
      manifest.log = {load_le<std::uint64_t>(file.data() + 16),
                      load_le<std::uint64_t>(file.data() + 24)};
      manifest.epochs = {{1, meta.base_offset}};
    } else {
      manifest.segments.back().sealed = true;
    }
    manifest.next_segment_id = std::max(manifest.next_segment_id, meta.id + 1);
    manifest.next_offset = meta.end_offset;
    manifest.next_sequence = meta.end_sequence;
    manifest.next_position = meta.base_position + meta.end_position;
    manifest.segments.push_back(meta);
  }
  if (!closed && !manifest.segments.empty()) {
    SegmentMeta& active = manifest.segments.back();
    active.end_offset = active.base_offset;
    active.end_sequence = active.base_sequence;
    active.end_position = 0;
    manifest.next_offset = active.base_offset;
    manifest.next_sequence = active.base_sequence;
    manifest.next_position = active.base_position;
  }
  return manifest;
}

// Whether a segment's name is that of its frames. No rot renames a file.
bool is_well_named(const Segment& segment) {
  const auto header = parse_segment_header(segment.file, "");
  if (!header) return true;
  test::BufferSource source(segment.file);
  const auto first =
      FrameReader(source, header->salt).probe({segment_header_bytes}, {segment.file.size()});
  if (!first || !*first) return true;
  const std::uint64_t base = (**first).header.base_offset;
  const bool begins = (**first).position == Position{segment_header_bytes};
  return begins ? base == segment.base.value : base >= segment.base.value;
}

struct Image {
  Files files{};
  bool trusted = false;  // nothing but rot can have happened to it
};

Image image_of(LogImage image) {
  Image made;
  made.trusted = (image.mode & (deep | fitting)) == 0;
  Files& files = made.files;
  std::vector<Segment> segments;
  for (const Buffer& packed : image.segments) {
    if (packed.empty()) continue;
    Segment segment{LogImage::base_offset(packed), LogImage::unpack_segment(packed)};
    if ((image.mode & deep) != 0) reseal_segment(segment.file, (image.mode & renumber) != 0);
    made.trusted = made.trusted && is_well_named(segment) &&
                   (segments.empty() || segments.back().base < segment.base);
    files.emplace(segment_name(segment.base), segment.file);
    segments.push_back(std::move(segment));
  }
  if ((image.mode & fitting) != 0)
    image.manifest = encode_manifest(fit_manifest(segments, (image.mode & clean) != 0));
  else if ((image.mode & deep) != 0)
    fuzz::reseal_manifest(image.manifest);
  if ((image.mode & no_manifest) == 0) files.emplace(std::string(manifest_name), image.manifest);

  const auto manifest = decode_manifest(image.manifest);
  if (!image.index.empty() && manifest && !manifest->segments.empty()) {
    const SegmentMeta& of = manifest->segments.front();
    if ((image.mode & deep) != 0)
      fuzz::reseal_index(image.index, {manifest->log, of.id, of.end_position});
    files.emplace(index_name({of.base_offset}), std::move(image.index));
  }
  return made;
}

// ---- reading -----------------------------------------------------------------------------------

// All of a record but its offset.
std::uint64_t hash_of(const RecordView& record) {
  Buffer all;
  fuzz::put_number(all, record.epoch.value);
  fuzz::put_number(all, record.timestamp.time_since_epoch().count());
  fuzz::put_number(all, record.append_time.time_since_epoch().count());
  const auto put = [&](const std::optional<Bytes>& bytes) {
    fuzz::put_number(all, bytes ? bytes->size() : ~std::size_t{0});
    if (bytes) fuzz::put_bytes(all, *bytes);
  };
  put(record.key);
  put(record.value);
  for (const Header& header : record.headers) {
    put(bytes(header.name));
    put(header.value);
  }
  return checksum(all);
}

using Records = std::map<std::uint64_t, std::uint64_t>;  // offset to hash

struct ReadBack {
  Records records{};
  std::uint64_t errors = 0;
  bool stuck = false;  // errors without moving on
  friend bool operator==(const ReadBack&, const ReadBack&) = default;
};

bool is_sensible(const Error& error) {
  return error == Errc::corrupt || error == Errc::unsupported_format || error == Errc::not_a_log;
}

// Whether a frame may say of itself that it covers offsets without records.
bool may_be_compacted(const Files& files) {
  for (const auto& [name, content] : files)
    for (std::size_t at = 0; at + frame_header_bytes <= content.size(); at += frame_alignment)
      if (const FrameHeader header = load_frame_header(content.data() + at);
          header.magic == frame_magic_sealed && header.is_compacted())
        return true;
  return false;
}

// `gaps`: there may be offsets that a salvage has found to be lost, of which nothing is told any more, or that have been
// compacted away.
ReadBack read_all(const Log& log, bool trusted, bool gaps = false) {
  ReadBack read;
  const std::uint64_t start = log.start_offset().value;
  std::uint64_t next = start;
  Reader reader = log.reader({start});
  bool told = false;
  std::uint64_t standing = 0;
  for (;;) {
    const auto record = reader.next();
    const std::uint64_t at = reader.next_offset().value;
    if (!record) {
      ++read.errors;
      must(at >= next, "a reader does not go back");
      standing = at == next && told ? standing + 1 : 0;
      told = true;
      next = at;
      if (standing < 3) continue;
      // Nothing leads around what is of another version; at the log's end an error may be told for ever.
      read.stuck = true;
      must(!trusted || next >= log.end_offset().value || record.error() == Errc::unsupported_format,
           "a reader moves on from damage");
      return read;
    }
    if (!*record) {
      must(!trusted || told || gaps || at == next, "no offset is passed over in silence");
      must(at >= log.end_offset().value, "a reader stops at the end");
      return read;
    }
    const std::uint64_t offset = (**record).offset.value;
    must(offset >= next && at == offset + 1, "offsets rise");
    must(!trusted || told || gaps || offset == next, "no offset is passed over in silence");
    must(offset < log.end_offset().value, "a record is one of the log's");
    next = at;
    told = false;
    read.records.emplace(offset, hash_of(**record));
  }
}

// The same without times of append, which compaction changes to those of later frames.
Records read_plain(const Log& log) {
  constexpr int errors_max = 64;
  Records records;
  Reader reader = log.reader(log.start_offset());
  for (int errors = 0; errors < errors_max;) {
    const auto record = reader.next();
    if (record && !*record) break;
    if (!record) {
      ++errors;
      continue;
    }
    RecordView plain = **record;
    plain.append_time = {};
    records.emplace(plain.offset.value, hash_of(plain));
  }
  return records;
}

// Some of the same by themselves, and by time.
void check_seeking(const Log& log, const ReadBack& read, bool trusted) {
  const std::size_t step = std::max<std::size_t>(1, read.records.size() / 6);
  std::size_t i = 0;
  for (const auto& [offset, hash] : read.records) {
    if (i++ % step != 0) continue;
    Reader reader = log.reader({offset});
    const auto record = reader.next();
    must(record && *record, "a record that was read can be read again");
    must((**record).offset.value == offset && hash_of(**record) == hash, "as what it was");
    const Timestamp time = (**record).timestamp;
    const auto found = log.find(time);
    if (!found) must(!trusted || read.errors > 0 || is_sensible(found.error()), "a time is found");
    if (found && trusted && read.errors == 0)
      must(found->value <= offset, "the first record of a time is not behind another one of it");
  }
  (void)log.reader({log.end_offset().value + 7}).next();
}

// Whether what both hold is the same.
bool agree(const Records& a, const Records& b) {
  return std::all_of(a.begin(), a.end(), [&](const auto& one) {
    const auto other = b.find(one.first);
    return other == b.end() || other->second == one.second;
  });
}

// ---- what is done with a log -------------------------------------------------------------------

class Run {
 public:
  Run(Image image, std::uint8_t mode)
      : files_(std::move(image.files)),
        trusted_(image.trusted),
        mode_(mode),
        gaps_(may_be_compacted(files_)) {}

  void all() {
    look();
    write();
    salvage_it();
  }

 private:
  bool trusted() const { return trusted_; }

  std::shared_ptr<StorageBackend> storage() const {
    auto storage = std::make_shared<fuzz::GuardedStorage>();
    write_files(*storage, files_);
    return storage;
  }

  Options options() const {
    Options options;
    options.segment_bytes = segment_bytes_min;
    options.index_interval_bytes = 1024;
    options.background = Background::manual;
    options.environment = std::make_shared<fuzz::FixedEnvironment>();
    if ((mode_ & strict) != 0) options.recovery = Recovery::fail_on_any_damage;
    return options;
  }

  void check_error(const Error& error) const {
    must(is_sensible(error) || (!trusted() && error.code().category() != error_category()),
         "what is wrong with a log is told as such: " + error.message());
  }

  // All that changes nothing.
  void look() {
    const auto storage = this->storage();
    Options reading = options();
    reading.access = Access::read_only;
    const auto verified = verify(*storage);
    if (!verified) check_error(verified.error());
    intact_ = verified && verified->intact();
    {
      const auto log = Log::open(storage, reading);
      if (log) {
        before_ = read_all(*log, trusted(), gaps_);
        must(read_all(*log, trusted(), gaps_) == *before_, "reading twice reads the same");
        if (trusted() || (intact_ && verified->torn.empty()))
          check_seeking(*log, *before_, trusted());
        (void)log->segments();
        (void)log->metrics();
      } else {
        check_error(log.error());
      }
    }
    std::uint64_t frames = 0;
    const auto dumped = dump(*storage, [&](const FrameInfo&) { return ++frames < 100'000; });
    must(frames < 100'000, "few bytes are few frames");
    must(dumped.has_value() == verified.has_value(), "verify and dump see the same");
    must(copy_files(*storage) == files_, "looking changes nothing");
  }

  void write() {
    const auto storage = this->storage();
    auto log = Log::open(storage, options());
    if (!log) {
      check_error(log.error());
      must(!intact_ || (mode_ & strict) != 0, "what verify calls intact can be opened");
      must(copy_files(*storage) == files_, "a log that is refused is left as it is");
      return;
    }
    Records records = read_all(*log, trusted(), gaps_).records;
    if (before_) must(agree(records, before_->records), "whoever reads, reads the same");
    if (!append(*log, records)) return;
    const auto closed = log->close();
    must(closed || !trusted(), "a log can be closed");
    if (!closed) return;
    log = Log::open(storage, options());
    must(log || !trusted(), "what was closed can be opened");
    if (!log) return;
    const ReadBack again = read_all(*log, trusted(), gaps_);
    must(agree(again.records, records) || !trusted(), "reopening changes no record");
    must(again.stuck || again.records == records || !trusted(),
         "all that was there is there after reopening");
    must(append(*log, records) || !trusted(), "and so it goes on");
    compact(*log);
  }

  void compact(Log& log) const {
    const Records before = read_plain(log);
    const auto compacted = log.compact();
    must(compacted || !trusted(), "a log can be compacted");
    (void)read_all(log, trusted(), true);
    const Records left = read_plain(log);
    must(agree(left, before) || !trusted(), "compaction changes no record");
    for (const auto& [offset, hash] : left)
      must(before.contains(offset) || !trusted(), "and makes none");
  }

  // False if the log takes nothing.
  bool append(Log& log, Records& records) const {
    const std::string large(9000, 'l');
    const int count = (mode_ & fill) != 0 ? 3 : 1;
    for (int i = 0; i < count; ++i) {
      Record record;
      record.key = bytes("appended");
      record.value = bytes(count > 1 ? large : std::string_view("small"));
      const Offset end = log.end_offset();
      const auto offset = log.append(record, {i % 2 == 0 ? Ack::disk : Ack::os});
      if (!offset) {
        // A log may have come to the last offset there is.
        must(!trusted() || offset.error() == Errc::offset_out_of_range, "a log takes a record");
        return false;
      }
      must(*offset == end && log.end_offset() == end + 1, "offsets are dense");
      Reader reader = log.reader(*offset);
      const auto read = reader.next();
      if (!trusted() && !read)
        return false;  // the log may say of itself what nobody can make sense of
      must(read && *read && (**read).offset == *offset, "what was appended can be read");
      const bool same = (**read).key && text(*(**read).key) == "appended" && (**read).value &&
                        text(*(**read).value) == text(*record.value);
      if (!trusted() && !same) return false;  // an older frame may claim the offset for itself
      must(same, "as what it was");
      must(records.emplace(offset->value, hash_of(**read)).second, "under an offset of its own");
      if (i == 1) must(log.tick() || !trusted(), "chores can be done");
    }
    return true;
  }

  void salvage_it() {
    const auto storage = this->storage();
    const auto salvaged = salvage(*storage);
    if (!salvaged) return check_error(salvaged.error());
    if (!salvaged->needed) must(copy_files(*storage) == files_, "what is intact is left alone");
    if (!trusted()) return use_salvaged(storage);
    if (salvaged->needed) {
      const auto again = salvage(*storage);
      must(again && !again->needed, "salvage leaves nothing to salvage");
    }
    use_salvaged(storage);
  }

  void use_salvaged(const std::shared_ptr<StorageBackend>& storage) {
    Options any = options();
    any.recovery = Recovery::drop_torn_tail;
    auto log = Log::open(storage, any);
    must(log || !trusted(),
         "a salvaged log can be opened: " + (log ? std::string() : log.error().message()));
    if (!log) return;
    const ReadBack read = read_all(*log, trusted(), true);
    if (trusted() && before_) {
      must(agree(read.records, before_->records), "salvage changes no record");
      for (const auto& [offset, hash] : before_->records)
        must(read.records.contains(offset), "salvage loses no record that could be read");
    }
    Records records = read.records;
    must(append(*log, records) || !trusted(), "a salvaged log takes records");
  }

  Files files_;
  bool trusted_;
  std::uint8_t mode_;
  bool gaps_;
  std::optional<ReadBack> before_{};
  bool intact_ = false;  // by what verify says
};

// ---- mutation ----------------------------------------------------------------------------------

// Where the frames of a packed segment start, by the sizes that they tell.
std::vector<std::size_t> frame_starts(const Buffer& packed) {
  std::vector<std::size_t> starts;
  for (std::size_t at = LogImage::frames_at; at + frame_header_bytes <= packed.size();) {
    starts.push_back(at);
    const auto body = load_le<std::uint32_t>(packed.data() + at + 8);
    at += frame_header_bytes + static_cast<std::size_t>(align_frame(body));
  }
  return starts;
}

// Repeats, removes or moves a frame, or changes a number in its header.
void mutate_frames(Buffer& packed, test::Random& random) {
  const auto starts = frame_starts(packed);
  if (starts.empty()) return;
  const std::size_t i = random.below(starts.size());
  const std::size_t begin = starts[i];
  const std::size_t end = i + 1 < starts.size() ? starts[i + 1] : packed.size();
  const auto from = packed.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto to = packed.begin() + static_cast<std::ptrdiff_t>(end);
  const Buffer frame(from, to);
  switch (random.below(6)) {
    case 0:
      packed.erase(from, to);
      break;
    case 1: {
      const std::size_t where = starts[random.below(starts.size())];
      packed.insert(packed.begin() + static_cast<std::ptrdiff_t>(where), frame.begin(),
                    frame.end());
      break;
    }
    case 2:  // blank it
      std::fill(from, to, std::byte{0});
      break;
    default: {
      constexpr std::size_t word = 8;
      std::byte* at = packed.data() + begin + word * random.below(frame_header_bytes / word);
      const auto old = load_le<std::uint64_t>(at);
      const std::uint64_t interesting[] = {0,
                                           1,
                                           old + 1,
                                           old - 1,
                                           ~std::uint64_t{0},
                                           std::uint64_t{1} << 63,
                                           old ^ 1u << 24,
                                           old ^ std::uint64_t{1} << random.below(64)};
      store_le(at, interesting[random.below(std::size(interesting))]);
    }
  }
}

void mutate_part(Buffer& part, std::size_t max_size) {
  constexpr std::size_t more = 64;
  const std::size_t size = part.size();
  const std::size_t room = std::min(size + more, max_size);
  if (room < size || room == 0) return;
  part.resize(room);
  part.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(part.data()), size, room));
}

}  // namespace

std::map<std::string, Buffer> fuzz::seeds() {
  std::map<std::string, Buffer> seeds;
  for (auto& [name, image] : example_images()) {
    LogImage seed = image;
    seeds["seed-" + name] = seed.pack();
    seed.mode = deep;
    seeds["seed-" + name + "-deep"] = seed.pack();
    seed.mode = deep | renumber | fitting;
    seed.manifest.clear();
    seeds["seed-" + name + "-fitting"] = seed.pack();
    seed.mode = no_manifest | fill;
    seeds["seed-" + name + "-no-manifest"] = seed.pack();
  }
  return seeds;
}

}  // namespace varve

// Parts are mutated by themselves, so that what grows in one does not shift the others.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  using namespace varve;
  constexpr std::size_t part_max = 0xFFFF;
  test::Random random(seed);
  if (random.one_in(20)) return LLVMFuzzerMutate(data, size, max_size);
  LogImage image = LogImage::unpack(fuzz::input_bytes(data, size));
  for (auto left = random.between(1, 3); left > 0; --left) {
    switch (random.below(12)) {
      case 0:
        image.mode ^= static_cast<std::uint8_t>(1u << random.below(7));
        break;
      case 1:
      case 2:
        mutate_part(image.manifest, part_max);
        break;
      case 3:
        mutate_part(image.index, part_max);
        break;
      case 4:
      case 5:
      case 6:
      case 7:
        mutate_frames(image.segments[random.below(2)], random);
        break;
      default:
        mutate_part(image.segments[random.below(2)], part_max);
    }
  }
  if (image.segments[0].size() > part_max) return size;
  const fuzz::Buffer packed = image.pack();
  if (packed.size() > max_size) return size;
  std::memcpy(data, packed.data(), packed.size());
  return packed.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  const LogImage image = LogImage::unpack(fuzz::input_bytes(data, size));
  Run(image_of(image), image.mode).all();
  return 0;
}
