#include "manifest.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "system_error.hpp"
#include "varve/detail/endian.hpp"
#include "varve/detail/filename.hpp"
#include "varve/detail/format.hpp"

namespace varve::inline v0::detail {
namespace {

// Layout (docs/format.md): a fixed part, then epochs, segments, dropped segments and what compacted ones replaced, then the
// check.
constexpr std::size_t fixed_bytes = 120;
constexpr std::size_t epoch_bytes = 16;
constexpr std::size_t segment_bytes = 64;
constexpr std::size_t dropped_bytes = 16;
constexpr std::size_t replaced_bytes = 32;
constexpr std::size_t check_bytes = 8;
constexpr std::uint32_t flag_clean = 1;
constexpr std::uint32_t flag_salvaging = 2;
constexpr std::uint32_t flag_sealed = 1;
constexpr std::uint64_t manifest_bytes_max = 1u << 30;

void put_segment(std::byte* at, const SegmentMeta& segment) {
  store_le(at, segment.id);
  store_le(at + 8, segment.base_offset);
  store_le(at + 16, segment.end_offset);
  store_le(at + 24, segment.base_sequence);
  store_le(at + 32, segment.end_sequence);
  store_le(at + 40, segment.base_position);
  store_le(at + 48, segment.newest_ms);
  store_le(at + 56, segment.end_position);
  store_le(at + 60, segment.sealed ? flag_sealed : 0u);
}

SegmentMeta get_segment(const std::byte* at) {
  SegmentMeta segment;
  segment.id = load_le<std::uint64_t>(at);
  segment.base_offset = load_le<std::uint64_t>(at + 8);
  segment.end_offset = load_le<std::uint64_t>(at + 16);
  segment.base_sequence = load_le<std::uint64_t>(at + 24);
  segment.end_sequence = load_le<std::uint64_t>(at + 32);
  segment.base_position = load_le<std::uint64_t>(at + 40);
  segment.newest_ms = load_le<std::int64_t>(at + 48);
  segment.end_position = load_le<std::uint32_t>(at + 56);
  segment.sealed = load_le<std::uint32_t>(at + 60) == flag_sealed;
  return segment;
}

Error bad_manifest(const char* what) { return damage_error(std::string(manifest_name), what); }

// Whether the last segment ends where a log that was closed does.
bool ends_as_closed(const Manifest& manifest) {
  if (manifest.start_offset > manifest.next_offset) return false;
  if (manifest.segments.empty()) return true;
  const SegmentMeta& last = manifest.segments.back();
  return last.end_offset == manifest.next_offset && last.end_sequence == manifest.next_sequence &&
         last.next_position() == manifest.next_position;
}

// What no writer of this format leaves behind, however its process ended.
const char* inconsistency(const Manifest& manifest) {
  if (manifest.start_offset > offset_max.value || manifest.next_offset > offset_max.value ||
      manifest.cleaned_offset > offset_max.value)
    return "an offset is out of bounds";
  if (manifest.next_position > position_max) return "a position is out of bounds";
  for (std::size_t i = 0; i < manifest.segments.size(); ++i) {
    const SegmentMeta& segment = manifest.segments[i];
    if (!segment.sealed && i + 1 != manifest.segments.size())
      return "a segment before the last one is not sealed";
    const bool has_extent = segment.end_position >= segment_header_bytes ||
                            (segment.end_position == 0 && !segment.sealed && !manifest.clean);
    if (segment.base_offset > segment.end_offset || segment.end_offset > offset_max.value ||
        segment.base_position > position_max || segment.end_position % frame_alignment != 0 ||
        !has_extent || id_behind(manifest.next_segment_id, segment.id) != manifest.next_segment_id)
      return "a segment's entry makes no sense";
    if (segment.is_compacted() && !segment.sealed) return "a compacted segment is not sealed";
    if (segment.replaced && (!segment.is_compacted() || segment.replaced->span > position_max))
      return "what a segment replaced makes no sense";
    if (i > 0 && manifest.segments[i - 1].end_offset != segment.base_offset)
      return "segments are out of order";
  }
  if (manifest.clean && !ends_as_closed(manifest))
    return "it is not of one mind where the log ends";
  std::vector<std::uint64_t> ids;
  ids.reserve(manifest.segments.size());
  for (const SegmentMeta& segment : manifest.segments) ids.push_back(segment.id);
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end())
    return "two segments have the same id";
  return nullptr;
}

}  // namespace

std::vector<std::byte> encode_manifest(const Manifest& manifest) {
  const auto compacted = static_cast<std::size_t>(
      std::count_if(manifest.segments.begin(), manifest.segments.end(),
                    [](const SegmentMeta& one) { return one.replaced.has_value(); }));
  const std::size_t size = fixed_bytes + manifest.epochs.size() * epoch_bytes +
                           manifest.segments.size() * segment_bytes +
                           manifest.dropped.size() * dropped_bytes + compacted * replaced_bytes +
                           check_bytes;
  std::vector<std::byte> file(size);
  std::byte* at = file.data();
  store_le(at, manifest_magic);
  store_le(at + 8, format_version);
  store_le(at + 12, static_cast<std::uint32_t>(size));
  store_le(at + 16, manifest.log.low);
  store_le(at + 24, manifest.log.high);
  store_le(at + 32, manifest.generation);
  store_le(at + 40, manifest.start_offset);
  store_le(at + 48, manifest.next_segment_id);
  store_le(at + 56,
           (manifest.clean ? flag_clean : 0u) | (manifest.salvaging ? flag_salvaging : 0u));
  store_le(at + 60, static_cast<std::uint32_t>(manifest.epochs.size()));
  store_le(at + 64, static_cast<std::uint32_t>(manifest.segments.size()));
  store_le(at + 68, static_cast<std::uint32_t>(manifest.dropped.size()));
  store_le(at + 72, manifest.next_offset);
  store_le(at + 80, manifest.next_sequence);
  store_le(at + 88, manifest.next_position);
  store_le(at + 96, manifest.append_time_ms);
  store_le(at + 104, manifest.cleaned_offset);
  store_le(at + 112, static_cast<std::uint32_t>(compacted));  // 116: 4 bytes for later, zero
  at += fixed_bytes;
  for (const EpochStart& epoch : manifest.epochs) {
    store_le(at, epoch.epoch);
    store_le(at + 8, epoch.offset);
    at += epoch_bytes;
  }
  for (const SegmentMeta& segment : manifest.segments) {
    put_segment(at, segment);
    at += segment_bytes;
  }
  for (const DroppedSegment& dropped : manifest.dropped) {
    store_le(at, dropped.id);
    store_le(at + 8, dropped.base_offset);
    at += dropped_bytes;
  }
  for (const SegmentMeta& segment : manifest.segments) {
    if (!segment.replaced) continue;
    store_le(at, segment.id);
    store_le(at + 8, segment.replaced->span);
    store_le(at + 16, segment.replaced->last_id);
    store_le(at + 24, segment.replaced->last_end);
    at += replaced_bytes;
  }
  store_le(at, checksum({file.data(), size - check_bytes}));
  return file;
}

Result<Manifest> decode_manifest(Bytes file) {
  const std::byte* at = file.data();
  if (file.size() < fixed_bytes + check_bytes || load_le<std::uint64_t>(at) != manifest_magic)
    return bad_manifest("not a manifest");
  if (const auto version = load_le<std::uint32_t>(at + 8); version != format_version) {
    return Error(Errc::unsupported_format, "MANIFEST: format version " + std::to_string(version) +
                                               ", this varve reads " +
                                               std::to_string(format_version));
  }
  if (load_le<std::uint32_t>(at + 12) != file.size()) return bad_manifest("its size is wrong");
  if (checksum(file.first(file.size() - check_bytes)) !=
      load_le<std::uint64_t>(at + file.size() - check_bytes))
    return bad_manifest("it does not match its check");

  const auto epochs = load_le<std::uint32_t>(at + 60);
  const auto segments = load_le<std::uint32_t>(at + 64);
  const auto dropped = load_le<std::uint32_t>(at + 68);
  const auto compacted = load_le<std::uint32_t>(at + 112);
  if (file.size() != fixed_bytes + check_bytes + epochs * std::uint64_t{epoch_bytes} +
                         segments * std::uint64_t{segment_bytes} +
                         dropped * std::uint64_t{dropped_bytes} +
                         compacted * std::uint64_t{replaced_bytes})
    return bad_manifest("its counts do not fit its size");

  Manifest manifest;
  manifest.log = {load_le<std::uint64_t>(at + 16), load_le<std::uint64_t>(at + 24)};
  manifest.generation = load_le<std::uint64_t>(at + 32);
  manifest.start_offset = load_le<std::uint64_t>(at + 40);
  manifest.next_segment_id = load_le<std::uint64_t>(at + 48);
  manifest.clean = (load_le<std::uint32_t>(at + 56) & flag_clean) != 0;
  manifest.salvaging = (load_le<std::uint32_t>(at + 56) & flag_salvaging) != 0;
  manifest.next_offset = load_le<std::uint64_t>(at + 72);
  manifest.next_sequence = load_le<std::uint64_t>(at + 80);
  manifest.next_position = load_le<std::uint64_t>(at + 88);
  manifest.append_time_ms = load_le<std::int64_t>(at + 96);
  manifest.cleaned_offset = load_le<std::uint64_t>(at + 104);
  at += fixed_bytes;
  for (std::uint32_t i = 0; i < epochs; ++i, at += epoch_bytes)
    manifest.epochs.push_back({load_le<std::uint32_t>(at), load_le<std::uint64_t>(at + 8)});
  manifest.segments.reserve(segments);
  for (std::uint32_t i = 0; i < segments; ++i, at += segment_bytes)
    manifest.segments.push_back(get_segment(at));
  for (std::uint32_t i = 0; i < dropped; ++i, at += dropped_bytes)
    manifest.dropped.push_back({load_le<std::uint64_t>(at), load_le<std::uint64_t>(at + 8)});
  auto segment = manifest.segments.begin();  // they come in the same order
  for (std::uint32_t i = 0; i < compacted; ++i, at += replaced_bytes) {
    const auto id = load_le<std::uint64_t>(at);
    segment = std::find_if(segment, manifest.segments.end(),
                           [&](const SegmentMeta& one) { return one.id == id; });
    if (segment == manifest.segments.end())
      return bad_manifest("what a segment replaced makes no sense");
    segment->replaced = Replaced{load_le<std::uint64_t>(at + 8), load_le<std::uint64_t>(at + 16),
                                 load_le<std::uint64_t>(at + 24)};
    ++segment;
  }
  if (const char* wrong = inconsistency(manifest)) return bad_manifest(wrong);
  return manifest;
}

Result<std::optional<Manifest>> load_manifest(StorageBackend& storage) {
  auto file = storage.open(manifest_name, OpenMode::read);
  if (!file) {
    if (is_missing(file.error())) return std::optional<Manifest>();
    if (file.error().code() == std::errc::too_many_symbolic_link_levels)
      return bad_manifest("a symbolic link stands where a file of the log belongs");
    return file.error();
  }
  VARVE_TRY_ASSIGN(const std::uint64_t size, (*file)->size());
  if (size > manifest_bytes_max) return bad_manifest("it is far too large");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  VARVE_TRY_ASSIGN(const std::size_t read, (*file)->read_at({0}, bytes));
  bytes.resize(read);
  VARVE_TRY_ASSIGN(Manifest manifest, decode_manifest(bytes));
  return std::optional<Manifest>(std::move(manifest));
}

Result<void> store_manifest(StorageBackend& storage, const Manifest& manifest) {
  // What could not be read back must never replace what can.
  if (const char* wrong = inconsistency(manifest)) return bad_manifest(wrong);
  const std::vector<std::byte> bytes = encode_manifest(manifest);
  VARVE_TRY_ASSIGN(auto file, storage.open(manifest_new_name, OpenMode::create));
  VARVE_TRY(file->write_at({0}, bytes));
  VARVE_TRY(file->sync());
  VARVE_TRY(storage.rename(manifest_new_name, manifest_name));
  auto synced = storage.sync_names();
  if (!synced && is_transient(synced.error())) {  // too late to be that
    return Error(
        std::make_error_code(std::errc::io_error),
        "MANIFEST: its new version is in place but not durable (" + synced.error().message() + ")");
  }
  return synced;
}

}  // namespace varve::inline v0::detail
