#include "varve/detail/filename.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace varve {
namespace {

using namespace detail;

TEST_CASE("filename: names have twenty digits and sort like offsets", "[filename]") {
  CHECK(segment_name({0}) == "00000000000000000000.log");
  CHECK(segment_name({524'288}) == "00000000000000524288.log");
  CHECK(index_name({7}) == "00000000000000000007.idx");
  CHECK(segment_name(offset_max) == "09223372036854775808.log");
  const std::vector<std::uint64_t> offsets{0, 9, 10, 99, 4096, 1u << 31, offset_max.value};
  std::vector<std::string> names;
  for (const std::uint64_t offset : offsets) names.push_back(segment_name({offset}));
  CHECK(std::is_sorted(names.begin(), names.end()));
}

TEST_CASE("filename: what was named is parsed back", "[filename]") {
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{10},
                                     offset_max.value - 1, offset_max.value}) {
    const auto parsed = parse_segment_name(segment_name({offset}));
    REQUIRE(parsed);
    CHECK(parsed->value == offset);
    CHECK(parse_offset_name(index_name({offset}), index_suffix)->value == offset);
  }
}

TEST_CASE("filename: other names are not parsed", "[filename]") {
  for (const std::string name :
       {"", ".log", "0.log", "0000000000000000000.log", "000000000000000000000.log",
        "0000000000000000000x.log", "-0000000000000000001.log", " 0000000000000000001.log",
        "00000000000000000001.LOG", "00000000000000000001.log.bak", "00000000000000000001.idx",
        "00000000000000000001log", "09223372036854775809.log", "18446744073709551615.log",
        "18446744073709551616.log", "99999999999999999999.log"}) {
    CAPTURE(name);
    CHECK(!parse_segment_name(name));
  }
}

TEST_CASE("filename: varve knows its own names and no others", "[filename]") {
  for (const std::string name :
       {"MANIFEST", "MANIFEST.new", "LOCK", "spare.log", "00000000000000000001.log",
        "00000000000000000001.idx", "00000000000000000001.idx.new", "00000000000000000001.log.new",
        "00000000000000000001.log.salvaged-1", "MANIFEST.salvaged-2"}) {
    CAPTURE(name);
    CHECK(is_varve_name(name));
  }
  for (const std::string name : {"", "manifest", "1.log", "notes.txt", "lost+found", "MANIFEST.old",
                                 "00000000000000000001.log.tmp", "99999999999999999999.log"}) {
    CAPTURE(name);
    CHECK(!is_varve_name(name));
  }
}

}  // namespace
}  // namespace varve
