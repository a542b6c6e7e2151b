// What a survey says to people and in a RecoveryReport.
#pragma once

#include <cstdint>
#include <string>

#include "recovery.hpp"
#include "varve/observer.hpp"

namespace varve::inline v0::detail {

// "file at 4096 to 8192: what; offsets [10, 20) are lost".
std::string describe(const Damage& damage);

RecoveryReport report_of(const Survey& found);

// The offset below which all records are known to have been durable: exact, or a little less.
std::uint64_t durable_offset_of(const Survey& found);

}  // namespace varve::inline v0::detail
