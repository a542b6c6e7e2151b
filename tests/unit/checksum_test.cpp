#include "varve/detail/checksum.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../../src/checksum_wide.hpp"
#include "support/catch.hpp"
#include "support/workload.hpp"

namespace varve {
namespace {

using detail::checksum;

TEST_CASE("checksum: it is XXH3 of 64 bits", "[checksum]") {
  // Reference values, of the bytes 0, 1, 2, ... 255, 0, ...: python3-xxhash.
  std::vector<std::byte> bytes;
  for (unsigned i = 0; i < 5000; ++i) bytes.push_back(static_cast<std::byte>(i));
  CHECK(checksum(Bytes(bytes).first(0)) == 0x2d06800538d394c2);
  CHECK(checksum(Bytes(bytes).first(100)) == 0x004e4f921a64bd1c);
  CHECK(checksum(Bytes(bytes).first(241)) == 0x02e8cd95421c6d02);
  CHECK(checksum(Bytes(bytes).first(4096)) == 0xeb4b7c3707879151);
  CHECK(checksum(bytes) == 0x1b74bda2c82a8c7a);
}

#if defined(__x86_64__)
TEST_CASE("checksum: it is the same with all vector units", "[checksum]") {
  test::Random random(1);
  std::vector<std::byte> bytes(6000);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.bits());
  for (std::size_t size = 0; size < bytes.size(); size += size < 1100 ? 1 : 61) {
    const std::uint64_t wanted = checksum(Bytes(bytes).first(size));
    CAPTURE(size);
    if (__builtin_cpu_supports("avx2")) CHECK(varve_checksum_avx2(bytes.data(), size) == wanted);
    if (__builtin_cpu_supports("avx512f"))
      CHECK(varve_checksum_avx512(bytes.data(), size) == wanted);
  }
}
#endif

}  // namespace
}  // namespace varve
