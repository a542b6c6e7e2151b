// The codecs that this command was built with.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "varve/options.hpp"
#include "varve/result.hpp"

namespace varve::cli {

std::vector<std::shared_ptr<const Codec>> all_codecs();

// "none", "zstd", "zstd:9" and the like.
Result<Compression> parse_compression(std::string_view text);

// Options to look at a log with, whatever it was compressed with.
Options looking();

}  // namespace varve::cli
