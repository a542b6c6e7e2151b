// Compression of batches of log-like JSON: each codec by itself, and through a log.
#include <memory>
#include <string>
#include <vector>

#include <varve/compress/codecs.hpp>
#include <varve/log.hpp>

#include "support/files.hpp"

namespace {

using namespace bench;

constexpr std::size_t batch_records = 100;

// Lines as services write them: the same names and few values again and again, and some that never repeat.
class JsonLines {
 public:
  JsonLines() {
    lines_.reserve(line_count);
    for (std::size_t i = 0; i < line_count; ++i) lines_.push_back(line());
    for (const std::string& one : lines_) bytes_ += one.size();
  }

  const std::string& operator()(std::size_t number) const { return lines_[number % line_count]; }
  double mean_bytes() const {
    return static_cast<double>(bytes_) / static_cast<double>(line_count);
  }

  static constexpr std::size_t line_count = 10'000;

 private:
  std::uint64_t below(std::uint64_t end) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % end;
  }

  std::string line() {
    static constexpr const char* levels[] = {"info", "info", "info", "info", "warn", "error"};
    static constexpr const char* paths[] = {"/orders", "/orders/items", "/customers",
                                            "/health", "/payments",     "/search"};
    now_ += below(40);
    return R"({"time":)" + std::to_string(now_) + R"(,"level":")" + levels[below(6)] +
           R"(","service":"shop-)" + std::to_string(below(4)) + R"(","trace":")" +
           std::to_string(below(1'000'000'000)) + std::to_string(below(1'000'000'000)) +
           R"(","method":"GET","path":")" + paths[below(6)] + "/" + std::to_string(below(100'000)) +
           R"(","status":)" + std::to_string(below(20) == 0 ? 500 : 200) + R"(,"took_us":)" +
           std::to_string(50 + below(5000)) + "}";
  }

  std::uint64_t state_ = 42;
  std::uint64_t now_ = 1'700'000'000'000;
  std::uint64_t bytes_ = 0;
  std::vector<std::string> lines_;
};

const JsonLines& lines() {
  static const JsonLines made;
  return made;
}

// What a batch looks like to a codec: a good many lines behind one another.
struct Input {
  std::vector<std::byte> bytes;
  Input() {
    for (std::size_t i = 0; i < batch_records; ++i) {
      const varve::Bytes line = varve::bytes(lines()(i));
      bytes.insert(bytes.end(), line.begin(), line.end());
    }
  }
};

// So much input, in batches, that a sample takes some tenths of a second.
std::size_t rounds(const Input& input, double bytes_per_s) {
  return std::max<std::size_t>(
      1, static_cast<std::size_t>(static_cast<double>(scaled(3)) * 0.1 * bytes_per_s /
                                  static_cast<double>(input.bytes.size())));
}

void compress(Sample& sample, const varve::Compression& how, double bytes_per_s) {
  const Input input;
  const varve::Codec& codec = *how.codec;
  std::vector<std::byte> out(codec.compressed_bytes_max(input.bytes.size()));
  const std::size_t count = rounds(input, bytes_per_s);
  std::size_t size = 0;
  sample.time(count, [&] {
    for (std::size_t i = 0; i < count; ++i)
      size = codec.compress(input.bytes, out, *how.level).value();
  });
  std::vector<std::byte> back(input.bytes.size());
  require(codec.decompress({out.data(), size}, back).value() == back.size() && back == input.bytes,
          "it does not come back");
  sample.set("batch_bytes", static_cast<double>(input.bytes.size()));
  sample.set("ratio", static_cast<double>(input.bytes.size()) / static_cast<double>(size));
}

void decompress(Sample& sample, const varve::Compression& how) {
  const Input input;
  const varve::Codec& codec = *how.codec;
  std::vector<std::byte> packed(codec.compressed_bytes_max(input.bytes.size()));
  packed.resize(codec.compress(input.bytes, packed, *how.level).value());
  std::vector<std::byte> out(input.bytes.size());
  const std::size_t count = rounds(input, 1e9);
  sample.time(count, [&] {
    for (std::size_t i = 0; i < count; ++i)
      require(codec.decompress(packed, out).value() == out.size(), "not decompressed");
  });
  require(out == input.bytes, "it does not come back");
  sample.set("batch_bytes", static_cast<double>(input.bytes.size()));
}

varve::Options options_for(const varve::Compression& how) {
  varve::Options options;
  options.compression = how;
  return options;
}

void append_batches(varve::Log& log, std::size_t batches) {
  std::vector<varve::Record> records(batch_records);
  for (std::size_t i = 0; i < batches; ++i) {
    for (std::size_t j = 0; j < batch_records; ++j)
      records[j].value = varve::bytes(lines()(i * batch_records + j));
    log.append(records, {.ack = varve::Ack::os}).value();
  }
}

std::size_t batches() { return scaled(3000); }

void append(Sample& sample, const varve::Compression& how) {
  const Directory directory;
  varve::Log log = varve::Log::open(directory.path(), options_for(how)).value();
  append_batches(log, batches() / 100);
  sample.time(batches() * batch_records, [&] { append_batches(log, batches()); });
  const varve::Metrics metrics = log.metrics();
  sample.set("bytes_per_record",
             static_cast<double>(metrics.bytes) / static_cast<double>(metrics.records_appended));
  sample.set("line_bytes", lines().mean_bytes());
}

void scan(Sample& sample, const varve::Compression& how) {
  const Directory directory;
  varve::Log log = varve::Log::open(directory.path(), options_for(how)).value();
  append_batches(log, batches());
  log.sync().value();
  const auto scan_all = [&] {
    std::uint64_t next = 0;
    varve::Reader reader = log.reader(log.start_offset());
    for (const varve::RecordView& record : reader) {
      require(varve::text(*record.value).size() == lines()(next++).size(), "another record");
      benchmark::DoNotOptimize(record.value->data());
    }
    reader.status().value();
    require(next == batches() * batch_records, "records are missing");
  };
  scan_all();
  sample.time(batches() * batch_records, scan_all);
}

const Registration samples([] {
  struct Level {
    std::shared_ptr<const varve::Codec> codec;
    int level;
    double bytes_per_s;  // about as fast as it compresses
  };
  namespace codecs = varve::compress;
  add("compress_append/none", [](Sample& sample) { append(sample, {}); });
  add("compress_scan/none", [](Sample& sample) { scan(sample, {}); });
  for (const Level& one :
       {Level{codecs::zstd(), 1, 4e8}, Level{codecs::zstd(), 3, 3e8}, Level{codecs::zstd(), 9, 5e7},
        Level{codecs::lz4(), 1, 6e8}, Level{codecs::lz4(), 9, 5e7}, Level{codecs::snappy(), 0, 5e8},
        Level{codecs::gzip(), 6, 4e7}}) {
    const varve::Compression how{one.codec, one.level};
    const std::string name =
        std::string(to_text(one.codec->id())) + "/" + std::to_string(one.level);
    const double speed = one.bytes_per_s;
    add("compress/" + name, [=](Sample& sample) { compress(sample, how, speed); });
    add("decompress/" + name, [=](Sample& sample) { decompress(sample, how); });
    add("compress_append/" + name, [=](Sample& sample) { append(sample, how); });
    add("compress_scan/" + name, [=](Sample& sample) { scan(sample, how); });
  }
});

}  // namespace
