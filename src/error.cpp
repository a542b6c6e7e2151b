#include "varve/error.hpp"

namespace varve::inline v0 {
namespace {

class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "varve"; }

  std::string message(int code) const override {
    switch (static_cast<Errc>(code)) {
      case Errc::offset_out_of_range:
        return "offset out of range";
      case Errc::corrupt:
        return "durable data is damaged";
      case Errc::batch_too_large:
        return "record or batch too large";
      case Errc::invalid_argument:
        return "invalid argument";
      case Errc::locked:
        return "open for writing elsewhere";
      case Errc::unsupported_format:
        return "unsupported format";
      case Errc::not_a_log:
        return "not a varve log";
      case Errc::no_space:
        return "no space left";
      case Errc::closed:
        return "the log is closed";
      case Errc::read_only:
        return "the log is open for reading only";
      case Errc::failed:
        return "the log failed earlier and must be reopened";
    }
    return "unknown error " + std::to_string(code);
  }

  std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<Errc>(code)) {
      case Errc::invalid_argument:
        return std::errc::invalid_argument;
      case Errc::no_space:
        return std::errc::no_space_on_device;
      case Errc::offset_out_of_range:
        return std::errc::result_out_of_range;
      default:
        return {code, *this};
    }
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

std::error_code make_error_code(Errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

}  // namespace varve::inline v0
