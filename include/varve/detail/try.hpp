// VARVE_TRY: leave the function with the error, or go on with the value.
#pragma once

#include "varve/result.hpp"

#define VARVE_DETAIL_CONCAT_(a, b) a##b
#define VARVE_DETAIL_CONCAT(a, b) VARVE_DETAIL_CONCAT_(a, b)

// VARVE_TRY(expression): for a Result whose value is not needed.
#define VARVE_TRY(...)                                                                    \
  do {                                                                                    \
    if (auto varve_result_ = (__VA_ARGS__); !varve_result_) return varve_result_.error(); \
  } while (false)

// VARVE_TRY_ASSIGN(declaration, expression): `auto x = *expression` or leave.
#define VARVE_TRY_ASSIGN(declaration, ...) \
  VARVE_DETAIL_TRY_ASSIGN(VARVE_DETAIL_CONCAT(varve_result_, __LINE__), declaration, __VA_ARGS__)
#define VARVE_DETAIL_TRY_ASSIGN(result, declaration, ...) \
  auto result = (__VA_ARGS__);                            \
  if (!result) return result.error();                     \
  declaration = *std::move(result)
