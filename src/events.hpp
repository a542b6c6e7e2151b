// The events that a Logger hears of: one place for their names, levels and fields.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "varve/logger.hpp"

namespace varve::inline v0::detail::events {

// An event with N fields, the log's name among them.
template <std::size_t N>
struct Event {
  std::string_view name{};
  LogLevel level = LogLevel::info;
  std::string_view help{};
  std::array<std::string_view, N> fields{};
};

template <class... Fields>
constexpr Event<sizeof...(Fields) + 1> event(std::string_view name, LogLevel level,
                                             std::string_view help, Fields... fields) {
  return {name, level, help, {"log", fields...}};
}

inline constexpr auto opened = event("opened", LogLevel::info, "the log is open", "access",
                                     "start_offset", "end_offset", "segments", "took_seconds");
inline constexpr auto open_failed = event(
    "open_failed", LogLevel::error, "the log could not be opened", "category", "code", "error");
inline constexpr auto recovered = event(
    "recovered", LogLevel::info, "it had not been closed, so its end was read and verified",
    "segments_scanned", "records_scanned", "bytes_scanned", "frames_dropped", "bytes_dropped");
inline constexpr auto torn_tail =
    event("torn_tail", LogLevel::warn, "an unfinished write was cut off; nothing that was durable",
          "file", "begin_position", "end_position", "what");
inline constexpr auto records_lost =
    event("records_lost", LogLevel::error, "durable records are damaged; the others can be read",
          "file", "begin_position", "end_position", "begin_offset", "end_offset", "what");
inline constexpr auto unknown_file = event(
    "unknown_file", LogLevel::warn, "a file that is not varve's was found, and left alone", "file");
inline constexpr auto synced =
    event("synced", LogLevel::debug, "a flush is done", "durable_offset", "took_seconds");
inline constexpr auto segment_rolled =
    event("segment_rolled", LogLevel::info, "a segment is complete, and another one in its place",
          "file", "begin_offset", "end_offset", "bytes");
inline constexpr auto segment_removed =
    event("segment_removed", LogLevel::info, "a segment is no longer in the log", "file",
          "begin_offset", "end_offset", "bytes");
inline constexpr auto records_forgotten =
    event("records_forgotten", LogLevel::info,
          "the log begins later now: by retention, or because truncate_prefix was called", "why",
          "old_start_offset", "start_offset", "segments");
inline constexpr auto retention_held =
    event("retention_held", LogLevel::info, "retention would forget more, but for a pin",
          "pinned_offset", "wanted_start_offset");
inline constexpr auto compacted =
    event("compacted", LogLevel::info, "records were removed whose keys have later ones",
          "cleaned_offset", "records_removed", "tombstones_removed", "bytes_before", "bytes_after",
          "segments_before", "segments_after", "took_seconds");
inline constexpr auto compaction_failed =
    event("compaction_failed", LogLevel::warn,
          "a pass in the background failed, changed nothing, and is tried again", "category",
          "code", "error");
inline constexpr auto no_space =
    event("no_space", LogLevel::warn, "the next segment could not be prepared: the disk is full",
          "category", "code", "error");
inline constexpr auto failed =
    event("failed", LogLevel::error, "the log takes no more appends until it is opened anew",
          "category", "code", "error");
inline constexpr auto closed =
    event("closed", LogLevel::info, "the log was closed, and everything is durable", "end_offset");
inline constexpr auto close_failed =
    event("close_failed", LogLevel::error, "closing did not make everything durable", "category",
          "code", "error");
inline constexpr auto snapshot_taken = event(
    "snapshot_taken", LogLevel::info, "a snapshot is complete and durable", "to", "begin_offset",
    "end_offset", "segments", "shared", "bytes", "bytes_copied", "took_seconds");
inline constexpr auto snapshot_failed = event(
    "snapshot_failed", LogLevel::error, "no snapshot was made", "to", "category", "code", "error");
inline constexpr auto restored =
    event("restored", LogLevel::info, "a backup was restored, and verified", "backup",
          "begin_offset", "end_offset", "segments", "bytes", "took_seconds");
inline constexpr auto restore_failed =
    event("restore_failed", LogLevel::error, "no backup was restored", "backup", "category", "code",
          "error");

}  // namespace varve::inline v0::detail::events
