// varve as a store, in its default configuration.
#pragma once

#include <string_view>
#include <vector>

#include <varve/varve.hpp>

#include "support/payload.hpp"
#include "support/raw_logs.hpp"

namespace bench {

class VarveStore {
 public:
  VarveStore(const fs::path& directory, Safety safety)
      : log_(varve::Log::open(directory).value()),
        options_{safety == Safety::power ? varve::Ack::disk : varve::Ack::os} {}

  std::uint64_t append(std::string_view value) {
    return log_.append({.value = varve::bytes(value)}, options_).value().value;
  }
  void append(const Payload& payload, std::uint64_t first, std::size_t count) {
    batch_.resize(count);
    for (std::size_t i = 0; i < count; ++i) batch_[i].value = varve::bytes(payload(first + i));
    const varve::OffsetRange offsets = log_.append(batch_, options_).value();
    require(offsets.begin.value == first && offsets.size() == count, "wrong offsets");
  }

  varve::Log& log() { return log_; }

  class Reader {
   public:
    explicit Reader(VarveStore& store) : reader_(store.log().reader(store.log().start_offset())) {}

    template <class Visit>
    void scan(Visit&& visit) {
      reader_.seek({0});
      for (const varve::RecordView& record : reader_)
        visit(record.offset.value, varve::text(*record.value));
      reader_.status().value();
    }
    template <class Visit>
    void read(std::uint64_t number, Visit&& visit) {
      reader_.seek({number});
      require(reader_.advance() && reader_.record().offset.value == number, "wrong record");
      visit(varve::text(*reader_.record().value));
    }

   private:
    varve::Reader reader_;
  };

 private:
  varve::Log log_;
  varve::AppendOptions options_;
  std::vector<varve::Record> batch_;
};

}  // namespace bench
