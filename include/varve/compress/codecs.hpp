// The codecs that varve::compress brings, for Options::compression and Options::codecs.
//
//   varve::Options options;
//   options.compression = {varve::compress::zstd(), 3};
//   options.codecs = varve::compress::all_codecs();  // reads whatever else the log holds
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "varve/compression.hpp"
#include "varve/export.hpp"
#include "varve/result.hpp"

namespace varve::inline v0::compress {

// Each is made once and lives as long as somebody holds it; any number of threads and logs may share it. They keep the
// working memory of as many calls as were ever under way at once: some hundred KiB each, more with high levels.

// Levels -7 (fastest) to 19, usually 3. The best ratio for the time.
VARVE_EXPORT std::shared_ptr<const Codec> zstd();

// LZ4 frames, as Kafka's clients send them. Levels 1 (fast, the usual) to 12; from 3 on the slower and better LZ4 HC.
VARVE_EXPORT std::shared_ptr<const Codec> lz4();

// Snappy without levels. Decompresses both a bare block and the framing of snappy-java ("xerial"), which Kafka's Java
// clients send; makes the former.
VARVE_EXPORT std::shared_ptr<const Codec> snappy();

// gzip, of one member or several. Levels 1 to 9, usually 6.
VARVE_EXPORT std::shared_ptr<const Codec> gzip();

// All of them.
VARVE_EXPORT std::vector<std::shared_ptr<const Codec>> all_codecs();

// What text says: "none", a codec's name ("lz4"), or name and level ("zstd:9").
// Errors: Errc::invalid_argument.
VARVE_EXPORT Result<Compression> parse_compression(std::string_view text);

}  // namespace varve::inline v0::compress
