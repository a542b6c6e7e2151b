// varve's types as JSON, for --json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "varve/inspect.hpp"
#include "varve/observer.hpp"
#include "varve/record.hpp"
#include "varve/snapshot.hpp"
#include "varve/types.hpp"

namespace varve::cli {

using Json = nlohmann::ordered_json;

// A string, or {"base64": "..."} for bytes that are not valid UTF-8.
Json json_of(Bytes bytes);
Json json_of(std::string_view text);

// null for nullopt.
Json json_of(const std::optional<Bytes>& bytes);

// RFC 3339, or milliseconds since 1970 as a number for a time that RFC 3339 cannot tell.
Json json_of(Timestamp time);

Json json_of(OffsetRange offsets);
Json json_of(const RecordView& record);
Json json_of(const SegmentInfo& segment);
Json json_of(const Damage& damage);
Json json_of(const RecoveryReport& report);
Json json_of(const VerifyReport& report);
Json json_of(const FrameInfo& frame);
Json json_of(const SnapshotReport& report);
Json json_of(const CompactionReport& report);

template <class T>
Json json_of(const std::vector<T>& items) {
  Json json = Json::array();
  for (const T& item : items) json.push_back(json_of(item));
  return json;
}

// A time for people: RFC 3339, or "@" and milliseconds since 1970.
std::string to_text(Timestamp time);

// One line: file, bytes, offsets, what is wrong.
std::string to_text(const Damage& damage);

// The state of a frame in one word.
std::string_view to_text(FrameInfo::State state);

}  // namespace varve::cli
