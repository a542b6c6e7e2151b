#include "varve/result.hpp"

#include <memory>
#include <string>
#include <utility>

#include "../support/catch.hpp"

namespace varve {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return Error(Errc::invalid_argument, "odd");
  return number / 2;
}

Result<void> check_even(int number) {
  return half(number).transform([](int) { return 0; }) ? Result<void>() : Errc::corrupt;
}

TEST_CASE("result: a value is had by star, arrow and value()", "[result]") {
  Result<std::string> result("text");
  REQUIRE(result);
  CHECK(result.has_value());
  CHECK(*result == "text");
  CHECK(result->size() == 4);
  CHECK(result.value() == "text");
  *result += "s";
  CHECK(std::as_const(result).value() == "texts");
  CHECK(std::as_const(result)->size() == 5);
  const std::string taken = *std::move(result);
  CHECK(taken == "texts");
}

TEST_CASE("result: an error keeps its code and context", "[result]") {
  const Result<int> result(Error(Errc::corrupt, "x.log at 4096"));
  REQUIRE(!result);
  CHECK(result.error() == Errc::corrupt);
  CHECK(result.error().code() == make_error_code(Errc::corrupt));
  CHECK(result.error().context() == "x.log at 4096");
  CHECK(result.error().message() == result.error().code().message() + ": x.log at 4096");
  CHECK(Error(Errc::corrupt).message() == make_error_code(Errc::corrupt).message());
}

TEST_CASE("result: a code alone makes an error too", "[result]") {
  const Result<int> result(Errc::closed);
  REQUIRE(!result);
  CHECK(result.error() == Errc::closed);
  CHECK(result.error().context().empty());
  const Result<void> nothing(Errc::closed);
  REQUIRE(!nothing);
  CHECK(nothing.error() == Errc::closed);
}

TEST_CASE("result: value() throws the error as a system_error", "[result]") {
  const Result<int> result(Error(Errc::locked, "orders"));
  bool thrown = false;
  try {
    static_cast<void>(result.value());
  } catch (const std::system_error& error) {
    thrown = true;
    CHECK(error.code() == Errc::locked);
    CHECK(std::string(error.what()).find("orders") != std::string::npos);
  }
  CHECK(thrown);

  thrown = false;
  try {
    Result<void>(Errc::locked).value();
  } catch (const Exception& error) {
    thrown = true;
    CHECK(error.code() == Errc::locked);
  }
  CHECK(thrown);
  Result<void>().value();
}

TEST_CASE("result: value_or takes the fallback only for an error", "[result]") {
  CHECK(half(4).value_or(7) == 2);
  CHECK(half(5).value_or(7) == 7);
  const Result<int> two = half(4);
  CHECK(two.value_or(7) == 2);
}

TEST_CASE("result: and_then chains values and passes errors on", "[result]") {
  CHECK(*half(8).and_then(half) == 2);
  CHECK(half(6).and_then(half).error() == Errc::invalid_argument);
  bool called = false;
  const Result<void> done = half(5).and_then([&](int) {
    called = true;
    return Result<void>();
  });
  CHECK(!done);
  CHECK(!called);
  CHECK(Result<void>().and_then([] { return Result<int>(3); }).value() == 3);
  CHECK(Result<void>(Errc::failed).and_then([] { return Result<int>(3); }).error() == Errc::failed);
}

TEST_CASE("result: or_else replaces errors only", "[result]") {
  const auto rescue = [](const Error& error) {
    return Result<int>(error == Errc::invalid_argument ? 0 : 1);
  };
  CHECK(*half(5).or_else(rescue) == 0);
  CHECK(*half(4).or_else(rescue) == 2);
}

TEST_CASE("result: transform maps values only", "[result]") {
  const Result<std::string> text =
      half(4).transform([](int number) { return std::to_string(number); });
  CHECK(*text == "2");
  CHECK(!half(3).transform([](int number) { return std::to_string(number); }));
}

TEST_CASE("result: values that cannot be copied move through", "[result]") {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(3));
  REQUIRE(result);
  const std::unique_ptr<int> taken = std::move(result).value();
  CHECK(*taken == 3);
  auto chained = Result<std::unique_ptr<int>>(std::make_unique<int>(4)).and_then([](auto number) {
    return Result<int>(*number);
  });
  CHECK(*chained == 4);
}

TEST_CASE("result: nothing is a value like any other", "[result]") {
  CHECK(Result<void>());
  CHECK(Result<void>().has_value());
  CHECK(check_even(2));
  CHECK(check_even(3).error() == Errc::corrupt);
}

TEST_CASE("result: what converts to the value makes one", "[result]") {
  const auto make = [](bool good) -> Result<std::string> {
    if (!good) return Errc::failed;
    return "text";
  };
  CHECK(*make(true) == "text");
  CHECK(!make(false));
}

}  // namespace
}  // namespace varve
