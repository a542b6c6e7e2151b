#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "log_dir.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"
#include "varve/varve.hpp"

using namespace varve::test;
using namespace std::chrono_literals;
using nlohmann::json;
using varve::Offset;

TEST_CASE("cli: help tells the commands and the exit codes, version the version", "[cli]") {
  const Outcome help = run_varve({"--help"});
  CHECK(help.exit == ok);
  CHECK(help.err.empty());
  for (const char* word : {"append", "read", "info", "verify", "dump", "salvage", "stats", "trim",
                           "compact", "backup", "restore", "bench", "Exit codes"})
    CHECK(help.out.find(word) != std::string::npos);
  CHECK(run_varve({"read", "--help"}).out.find("--follow") != std::string::npos);
  const Outcome version = run_varve({"--version"});
  CHECK(version.exit == ok);
  CHECK(version.out == "varve " VARVE_VERSION_STRING "\n");
}

TEST_CASE("cli: a command line that makes no sense is refused as such", "[cli]") {
  const LogDir dir;
  const std::string path = dir.path();
  const std::vector<Arguments> lines{{},
                                     {"apend", path},
                                     {"append"},
                                     {"append", path, "more"},
                                     {"append", path, "--ack", "maybe"},
                                     {"append", path, "--key-separator", ""},
                                     {"append", path, "--segment-bytes", "1"},
                                     {"append", path, "--segment-bytes", "64MiB"},
                                     {"read", path, "--from", "yesterday"},
                                     {"read", path, "--from", "@yesterday"},
                                     {"read", path, "--until", "end"},
                                     {"read", path, "--max", "-1"},
                                     {"read", path, "--json", "--keys"},
                                     {"read", path, "--unknown"},
                                     {"trim", path},
                                     {"trim", path, "--before", "end"},
                                     {"trim", path, "--keep-bytes", "0"},
                                     {"compact"},
                                     {"compact", path, "--key-map-bytes", "0"},
                                     {"compact", path, "--delete-retention", "-1"},
                                     {"trim", path, "--before", "1", "--keep-bytes", "1"},
                                     {"stats", path, "--json", "--prometheus"},
                                     {"backup", path},
                                     {"restore", path},
                                     {"bench"},
                                     {"bench", path, "--record-bytes", "7"},
                                     {"bench", path, "--records", "0"},
                                     {"bench", path, "--records", "1", "--seconds", "1"},
                                     {"bench", path, "--threads", "0"}};
  for (const Arguments& line : lines) {
    CAPTURE(line);
    check_complaint(run_varve(line), usage);
  }
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("cli: lines that were appended are read back", "[cli]") {
  const LogDir dir;
  const Outcome first = run_varve({"append", dir.path()}, "one\n\nthree\r\n");
  CHECK(first.exit == ok);
  CHECK(first.out == "0\n1\n2\n");
  CHECK(first.err.empty());
  const Outcome second =
      run_varve({"append", dir.path(), "--ack", "os"}, std::string("f\0ur\nlast", 9));
  CHECK(second.out == "3\n4\n");
  const Outcome read = run_varve({"read", dir.path()});
  CHECK(read.exit == ok);
  CHECK(read.err.empty());
  CHECK(read.out == std::string("one\n\nthree\r\nf\0ur\nlast\n", 22));
  CHECK(run_varve({"append", dir.path()}).out.empty());
}

TEST_CASE("cli: a separator splits a line into key and value", "[cli]") {
  const LogDir dir;
  run_varve({"append", dir.path(), "--key-separator", "=>"}, "a=>1\nb=>2=>3\nplain\n=>\n");
  const Outcome keys = run_varve({"read", dir.path(), "--keys"});
  CHECK(keys.out == "a\t1\nb\t2=>3\n\tplain\n\t\n");
  const auto lines = lines_of(run_varve({"read", dir.path(), "--json"}).out);
  REQUIRE(lines.size() == 4);
  CHECK(json::parse(lines[1])["key"] == "b");
  CHECK(json::parse(lines[1])["value"] == "2=>3");
  CHECK(json::parse(lines[2])["key"].is_null());
  CHECK(json::parse(lines[3])["key"] == "");
}

TEST_CASE("cli: a large pipe is appended whole", "[cli]") {
  const LogDir dir;
  std::string input;
  std::string offsets;
  for (int i = 0; i < 100'000; ++i) {
    input += "line " + std::to_string(i) + "\n";
    offsets += std::to_string(i) + "\n";
  }
  const Outcome append = run_varve({"append", dir.path(), "--segment-bytes", "65536"}, input);
  CHECK(append.exit == ok);
  CHECK((append.out == offsets));
  CHECK((run_varve({"read", dir.path()}).out == input));
  CHECK(json_of(run_varve({"info", dir.path(), "--json"}))["segments"].size() > 10);
}

TEST_CASE("cli: slow input is acknowledged line by line", "[cli]") {
  const LogDir dir;
  RunningVarve append({"append", dir.path()});
  for (int i = 0; i < 5; ++i) {
    append.write("line\n");
    CHECK(append.read_line() == std::to_string(i));
  }
  append.write("half a line");
  append.end_input();
  CHECK(append.read_line() == "5");
  CHECK(append.wait() == ok);
}

TEST_CASE("cli: acknowledged lines survive SIGKILL, and SIGTERM closes the log", "[cli]") {
  const LogDir dir;
  {
    RunningVarve append({"append", dir.path()});
    append.write("kept\n");
    CHECK(append.read_line() == "0");
    append.send(SIGKILL);
    CHECK(append.wait() == 128 + SIGKILL);
  }
  CHECK(run_varve({"read", dir.path()}).out == "kept\n");
  RunningVarve append({"append", dir.path()});
  append.write("also kept\n");
  CHECK(append.read_line() == "1");
  append.send(SIGTERM);
  CHECK(append.wait() == 128 + SIGTERM);
  CHECK(run_varve({"read", dir.path()}).out == "kept\nalso kept\n");
  CHECK(json_of(run_varve({"info", dir.path(), "--json"}))["recovery"]["clean"] == true);
}

TEST_CASE("cli: a line that is too long is refused, those before it stand", "[cli]") {
  const LogDir dir;
  const std::string input = "one\ntwo\n" + std::string(3 << 20, 'x') + "\nfour\n";
  const Outcome append = run_varve({"append", dir.path()}, input);
  check_complaint(append, error);
  CHECK(append.err.find("line 3") != std::string::npos);
  CHECK(append.out == "0\n1\n");
  CHECK(run_varve({"read", dir.path()}).out == "one\ntwo\n");
}

TEST_CASE("cli: reading takes its range by offset", "[cli][read]") {
  const LogDir dir;
  dir.fill(10);
  const auto read = [&](Arguments options) {
    options.insert(options.begin(), {"read", dir.path()});
    const Outcome outcome = run_varve(options);
    CAPTURE(outcome.err);
    CHECK(outcome.exit == ok);
    return lines_of(outcome.out);
  };
  using Lines = std::vector<std::string>;
  CHECK(read({}).size() == 10);
  CHECK(read({"--from", "start"}).size() == 10);
  CHECK(read({"--from", "8"}) == Lines{"record 8", "record 9"});
  CHECK(read({"--until", "2"}) == Lines{"record 0", "record 1"});
  CHECK(read({"--from", "3", "--until", "4"}) == Lines{"record 3"});
  CHECK(read({"--from", "4", "--until", "4"}).empty());
  CHECK(read({"--from", "5", "--until", "4"}).empty());
  CHECK(read({"--from", "5", "--max", "1"}) == Lines{"record 5"});
  CHECK(read({"--max", "0"}).empty());
  CHECK(read({"--from", "end"}).empty());
  CHECK(read({"--from", "10"}).empty());
  CHECK(read({"--until", "1000"}).size() == 10);
  check_complaint(run_varve({"read", dir.path(), "--from", "11"}), error);
}

TEST_CASE("cli: reading takes its range by time", "[cli][read]") {
  const LogDir dir;
  {
    varve::Log log = dir.open();
    const varve::Timestamp begin = std::chrono::sys_days(std::chrono::year(2024) / 2 / 29);
    for (int i = 0; i < 10; ++i)
      REQUIRE(log.append({.value = varve::bytes(std::to_string(i)), .timestamp = begin + i * 1h}));
    REQUIRE(log.close());
  }
  const auto read = [&](const std::string& from, const std::string& until) {
    return run_varve({"read", dir.path(), "--from", from, "--until", until}).out;
  };
  CHECK(read("@2024-02-29", "@2024-02-29T02:00:00Z") == "0\n1\n");
  CHECK(read("@2024-02-29T08:00:00.001Z", "@2024-03-01") == "9\n");
  CHECK(read("@2024-02-29T05:00:00+02:00", "5") == "3\n4\n");
  CHECK(read("7", "@2024-02-29T08:30:00Z") == "7\n8\n");
  CHECK(read("@2025-01-01", "@2026-01-01").empty());
  const auto line = run_varve({"read", dir.path(), "--max", "1", "--json"}).out;
  CHECK(json::parse(line)["timestamp"] == "2024-02-29T00:00:00.000Z");
}

TEST_CASE("cli: JSON tells all of a record, whatever its bytes are", "[cli][read]") {
  const LogDir dir;
  {
    varve::Log log = dir.open();
    const std::vector<varve::Header> headers{{.name = "trace", .value = varve::bytes("1")},
                                             {.name = "trace", .value = {}},
                                             {.name = "raw", .value = varve::bytes("\xC3\x28")}};
    REQUIRE(log.append(
        {.key = varve::bytes("k\"\\\n"), .value = varve::bytes("h\xC3\xA9"), .headers = headers}));
    REQUIRE(log.append({.key = varve::bytes("\xFF"), .value = {}}));
    for (const char* text : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "a\xE2\x82", "\x80"})
      REQUIRE(log.append({.value = varve::bytes(text)}));
    REQUIRE(log.append(
        {.value = varve::bytes("\xF0\x9F\xA6\x80"), .timestamp = varve::Timestamp::max()}));
    REQUIRE(log.close());
  }
  const auto lines = lines_of(run_varve({"read", dir.path(), "--json"}).out);
  REQUIRE(lines.size() == 8);
  const json first = json::parse(lines[0]);
  CHECK(first["offset"] == 0);
  CHECK(first["epoch"].is_number_unsigned());
  CHECK(first["timestamp"].get<std::string>().size() == 24);
  CHECK(first["key"] == "k\"\\\n");
  CHECK(first["value"] == "h\xC3\xA9");
  CHECK(first["headers"] == json::parse(R"([{"name": "trace", "value": "1"},
                                            {"name": "trace", "value": null},
                                            {"name": "raw", "value": {"base64": "wyg="}}])"));
  const json second = json::parse(lines[1]);
  CHECK(second["key"] == json{{"base64", "/w=="}});
  CHECK(second["value"].is_null());
  CHECK(second["headers"] == json::array());
  CHECK(json::parse(lines[2])["value"] == json{{"base64", "wIA="}});
  CHECK(json::parse(lines[3])["value"] == json{{"base64", "7aCA"}});
  CHECK(json::parse(lines[4])["value"] == json{{"base64", "9JCAgA=="}});
  CHECK(json::parse(lines[5])["value"] == json{{"base64", "YeKC"}});
  CHECK(json::parse(lines[6])["value"] == json{{"base64", "gA=="}});
  CHECK(json::parse(lines[7])["value"] == "\xF0\x9F\xA6\x80");
  CHECK(json::parse(lines[7])["timestamp"] == INT64_MAX);
}

TEST_CASE("cli: following shows what another process appends", "[cli][read]") {
  const LogDir dir;
  dir.fill(2);
  RunningVarve read({"read", dir.path(), "--follow", "--from", "1"});
  CHECK(read.read_line() == "record 1");
  {
    varve::Log log = dir.open();
    for (int i = 0; i < 20; ++i) {
      REQUIRE(log.append({.value = varve::bytes("live " + std::to_string(i))}, {varve::Ack::os}));
      CHECK(read.read_line() == "live " + std::to_string(i));
    }
    REQUIRE(log.close());
  }
  run_varve({"append", dir.path()}, "by another writer\n");
  CHECK(read.read_line() == "by another writer");
  read.send(SIGINT);
  CHECK(read.wait() == ok);
  CHECK(read.errors() == "");
}

TEST_CASE("cli: following passes from segment to segment", "[cli][read]") {
  const LogDir dir;
  dir.fill(1);
  RunningVarve read({"read", dir.path(), "--follow", "--from", "1"});
  std::string input;
  for (int i = 0; i < 20'000; ++i) input += "line " + std::to_string(i) + "\n";
  run_varve({"append", dir.path(), "--segment-bytes", "16384"}, input);
  std::string seen;
  for (int i = 0; i < 20'000; ++i) seen += read.read_line() + "\n";
  CHECK((seen == input));
  read.send(SIGINT);
  CHECK(read.wait() == ok);
}

TEST_CASE("cli: following ends where it was told to, or when nobody reads", "[cli][read]") {
  const LogDir dir;
  dir.fill(3);
  CHECK(run_varve({"read", dir.path(), "--follow", "--max", "2"}).out == "record 0\nrecord 1\n");
  CHECK(run_varve({"read", dir.path(), "--follow", "--until", "1"}).out == "record 0\n");
  RunningVarve until({"read", dir.path(), "--follow", "--until", "4"});
  for (int i = 0; i < 3; ++i) CHECK(until.read_line() == "record " + std::to_string(i));
  run_varve({"append", dir.path()}, "last\nnot shown\n");
  CHECK(until.read_line() == "last");
  CHECK(until.wait() == ok);
  RunningVarve nobody({"read", dir.path(), "--follow"});
  CHECK(nobody.read_line() == "record 0");
  nobody.end_output();
  CHECK(nobody.wait() == ok);
}

TEST_CASE("cli: a closed pipe ends reading quietly", "[cli][read]") {
  const LogDir dir;
  std::string input;
  for (int i = 0; i < 50'000; ++i) input += "a line that helps to fill the pipe\n";
  run_varve({"append", dir.path()}, input);
  const auto options = GENERATE(Arguments{"read"}, Arguments{"read", "--json"}, Arguments{"dump"});
  Arguments arguments = options;
  arguments.push_back(dir.path());
  RunningVarve read(arguments);
  read.read_line();
  read.end_output();
  CHECK(read.wait() == ok);
  CHECK(read.errors() == "");
}

TEST_CASE("cli: output that cannot be written is an error", "[cli]") {
  const LogDir dir;
  dir.fill(3);
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(full >= 0);
  const StreamFile input("more\n");
  for (const char* name : {"read", "info", "verify", "dump", "append"}) {
    CAPTURE(name);
    const StreamFile err;
    const pid_t process =
        start_varve({name, dir.path()}, input.descriptor(), full, err.descriptor());
    CHECK(wait_for(process) == error);
    CHECK(err.text().find("standard output") != std::string::npos);
  }
  close(full);
}

TEST_CASE("cli: info, verify and dump describe a log", "[cli]") {
  const LogDir dir;
  dir.fill(10);
  const auto before = dir.files();
  const json info = json_of(run_varve({"info", dir.path(), "--json"}));
  CHECK(info["start_offset"] == 0);
  CHECK(info["end_offset"] == 10);
  CHECK(info["offset_count"] == 10);
  CHECK(info["segments"].size() == 1);
  CHECK(info["recovery"]["clean"] == true);
  CHECK(run_varve({"info", dir.path()}).out.find("[0, 10)") != std::string::npos);

  const json verify = json_of(run_varve({"verify", dir.path(), "--json"}));
  CHECK(verify["intact"] == true);
  CHECK(verify["records"] == 10);
  CHECK(verify["damage"] == json::array());
  const Outcome text = run_varve({"verify", dir.path()});
  CHECK(text.exit == ok);
  CHECK(text.err.empty());
  CHECK(lines_of(text.out).back() == "intact");

  std::uint64_t records = 0;
  const auto frames = lines_of(run_varve({"dump", dir.path(), "--json"}).out);
  for (const std::string& line : frames) {
    const json frame = json::parse(line);
    CHECK(frame["state"] != "damaged");
    records += frame["records"].get<std::uint64_t>();
  }
  CHECK(records == 10);
  CHECK(lines_of(run_varve({"dump", dir.path()}).out).size() == frames.size());
  CHECK(dir.files() == before);
}

TEST_CASE("cli: damage is told with exit code 4, and all else is readable", "[cli][corrupt]") {
  const LogDir dir;
  dir.fill_and_crash(20);
  dir.damage({7});
  const auto before = dir.files();

  const Outcome append = run_varve({"append", dir.path()}, "more\n");
  check_complaint(append, corrupt);
  CHECK(append.out.empty());

  const Outcome read = run_varve({"read", dir.path()});
  CHECK(read.exit == corrupt);
  CHECK(read.err.find(".log") != std::string::npos);
  CHECK(read.err.find("[7, 8)") != std::string::npos);
  const auto lines = lines_of(read.out);
  REQUIRE(lines.size() == 19);
  CHECK(lines[6] == "record 6");
  CHECK(lines[7] == "record 8");
  CHECK(run_varve({"read", dir.path(), "--until", "7"}).exit == ok);
  CHECK(run_varve({"read", dir.path(), "--from", "8"}).exit == ok);

  const Outcome verify = run_varve({"verify", dir.path(), "--json"});
  CHECK(verify.exit == corrupt);
  const json report = json_of(verify);
  CHECK(report["intact"] == false);
  CHECK(report["damage"][0]["offsets"] == json{{"begin", 7}, {"end", 8}});
  CHECK(run_varve({"dump", dir.path()}).exit == corrupt);
  CHECK(dir.files() == before);
}

TEST_CASE("cli: salvage goes on with what is left, and changes nothing of an intact log",
          "[cli][corrupt]") {
  const LogDir dir;
  dir.fill(20);
  const auto intact = dir.files();
  CHECK(run_varve({"salvage", dir.path()}).exit == ok);
  CHECK(dir.files() == intact);
  dir.damage({7});

  const Outcome salvage = run_varve({"salvage", dir.path()});
  CHECK(salvage.exit == ok);
  CHECK(salvage.out.find("[7, 8)") != std::string::npos);
  CHECK(salvage.out.find("salvaged-") != std::string::npos);
  CHECK(run_varve({"verify", dir.path()}).exit == ok);
  CHECK(run_varve({"append", dir.path()}, "record 20\n").out == "20\n");
  const Outcome read = run_varve({"read", dir.path()});
  CHECK(read.exit == ok);
  CHECK(lines_of(read.out).size() == 20);
}

TEST_CASE("cli: a log that somebody writes is locked for writers only", "[cli]") {
  const LogDir dir;
  varve::Log log = dir.open();
  REQUIRE(log.append({.value = varve::bytes("held")}));
  check_complaint(run_varve({"append", dir.path()}, "more\n"), locked);
  check_complaint(run_varve({"salvage", dir.path()}), locked);
  CHECK(run_varve({"read", dir.path()}).out == "held\n");
  for (const char* name : {"info", "verify", "dump"}) {
    CAPTURE(name);
    CHECK(run_varve({name, dir.path()}).exit == ok);
  }
}

TEST_CASE("cli: what is no log is called so, and left alone", "[cli]") {
  const TempDir temp;
  const auto empty = temp.path() / "empty";
  const auto foreign = temp.path() / "foreign";
  const auto file = temp.path() / "file";
  std::filesystem::create_directory(empty);
  std::filesystem::create_directory(foreign);
  std::ofstream(foreign / "thesis.txt") << "mine";
  std::ofstream(file) << "a file";
  for (const auto& path : {temp.path() / "missing", empty, foreign, file})
    for (const char* name : {"read", "info", "verify", "dump"}) {
      CAPTURE(path, name);
      const Outcome outcome = run_varve({name, path});
      check_complaint(outcome, error);
      CHECK(outcome.err.find(path) != std::string::npos);
      CHECK(outcome.out.empty());
    }
  CHECK(std::filesystem::is_empty(empty));
  CHECK(!std::filesystem::exists(temp.path() / "missing"));
  check_complaint(run_varve({"append", file}, "more\n"), error);
  check_complaint(run_varve({"append", foreign}, "more\n"), error);
}

#ifdef VARVE_CLI_COMPRESS

TEST_CASE("cli: lines that are there at once are compressed together", "[cli][compress]") {
  const LogDir dir;
  std::string lines;
  for (int i = 0; i < 5000; ++i)
    lines += "k=a line like all others, number " + std::to_string(i) + "\n";
  const Outcome appended =
      run_varve({"append", dir.path(), "--compress", "zstd:9", "--key-separator", "="}, lines);
  CHECK(appended.exit == ok);
  CHECK(lines_of(appended.out).size() == 5000);
  CHECK(lines_of(appended.out).back() == "4999");

  const auto read = lines_of(run_varve({"read", dir.path()}).out);
  REQUIRE(read.size() == 5000);
  CHECK(read[4321] == "a line like all others, number 4321");
  const auto late = lines_of(run_varve({"read", dir.path(), "--from", "4999", "--keys"}).out);
  CHECK(late == std::vector<std::string>{"k\ta line like all others, number 4999"});

  std::uint64_t records = 0;
  for (const std::string& line : lines_of(run_varve({"dump", dir.path(), "--json"}).out)) {
    const json frame = json::parse(line);
    if (frame["codec"].is_null()) continue;
    CHECK(frame["codec"] == "zstd");
    CHECK(frame["bytes_before_compression"].get<int>() > 3 * frame["body_bytes"].get<int>());
    records += frame["records"].get<std::uint64_t>();
  }
  CHECK(records == 5000);
  CHECK(run_varve({"dump", dir.path()}).out.find(" (zstd of ") != std::string::npos);
  CHECK(run_varve({"verify", dir.path()}).out.find(" to 1)") != std::string::npos);
  const json verify = json_of(run_varve({"verify", dir.path(), "--json"}));
  CHECK(verify["frames_compressed"] > 1);
  CHECK(verify["bytes_before_compression"] > 3 * verify["bytes_after_compression"].get<int>());
}

TEST_CASE("cli: a codec or a level that there is not is a usage error", "[cli][compress]") {
  const LogDir dir;
  for (const char* bad : {"zip", "zstd:99", "lz4:fast", ""}) {
    CAPTURE(bad);
    check_complaint(run_varve({"append", dir.path(), "--compress", bad}, "line\n"), usage);
  }
  CHECK(run_varve({"append", dir.path(), "--compress", "none"}, "line\n").exit == ok);
}

TEST_CASE("cli: what is refused of lines that are compressed is told by their numbers",
          "[cli][compress]") {
  const LogDir dir;
  const std::string text = "one\ntwo\n" + std::string(14'000, 'x') + "\nfour\n";
  const Outcome refused =
      run_varve({"append", dir.path(), "--compress", "lz4", "--segment-bytes", "16384"}, text);
  check_complaint(refused, error);
  CHECK(refused.err.find("lines 1 to 4: ") != std::string::npos);
  CHECK(refused.out.empty());
}

#endif
