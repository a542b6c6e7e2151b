// What can go wrong, and how it is told.
#pragma once

#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "varve/export.hpp"

namespace varve::inline v0 {

// Conditions of varve's own. Failures of the operating system keep their errno in
// std::generic_category() or std::system_category() (EIO, EMFILE, EACCES, ...), with one exception:
// a full disk, a full quota and a file-size limit are all `no_space`.
enum class Errc {
  offset_out_of_range = 1,  // the log does not hold that offset; the context gives the valid range
  corrupt,                  // bytes that were durable are damaged or gone; the context says which
  batch_too_large,     // the record or batch exceeds Options::batch_bytes_max; nothing was written
  invalid_argument,    // an argument or an option makes no sense; nothing was done
  locked,              // another Log, here or in another process, has it open for writing
  unsupported_format,  // of a version, or compressed by a codec, that the log does not know
  not_a_log,           // the directory holds something else
  no_space,            // nowhere to put the record; appends resume once there is space again
  closed,              // the log was closed
  read_only,           // the log was opened for reading only
  failed,              // an earlier write or sync failed, so nothing more is accepted: reopen
};

// The category named "varve" of the codes above.
VARVE_EXPORT const std::error_category& error_category() noexcept;
VARVE_EXPORT std::error_code make_error_code(Errc code) noexcept;

}  // namespace varve::inline v0

template <>
struct std::is_error_code_enum<varve::Errc> : std::true_type {};

namespace varve::inline v0 {

// A code that programs compare and a context that people read: which file, where in it, which
// offsets, what was being done.
class Error {
 public:
  Error(std::error_code code, std::string context = {})
      : code_(code), context_(std::move(context)) {}
  Error(Errc code, std::string context = {}) : Error(make_error_code(code), std::move(context)) {}

  const std::error_code& code() const noexcept { return code_; }
  const std::string& context() const noexcept { return context_; }

  // "<meaning of the code>: <context>".
  std::string message() const {
    return context_.empty() ? code_.message() : code_.message() + ": " + context_;
  }

  friend bool operator==(const Error& error, Errc code) noexcept {
    return error.code_ == make_error_code(code);
  }

 private:
  std::error_code code_;
  std::string context_;
};

// What Result::value() throws when there is no value. varve throws nothing else of its own.
class Exception : public std::system_error {
 public:
  explicit Exception(const Error& error) : std::system_error(error.code(), error.context()) {}
};

}  // namespace varve::inline v0
