// varve trim and stats: how large a log is, and what it forgets.
#include <string>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "log_dir.hpp"
#include "support/catch.hpp"

using namespace varve::test;
using nlohmann::json;

TEST_CASE("cli: trim forgets what it was told to, and says so before", "[cli][trim]") {
  const LogDir dir;
  fill_small_segments(dir, 4000);
  const auto before = dir.files();
  const json info = json_of(run_varve({"info", dir.path(), "--json"}));
  REQUIRE(info["segments"].size() > 3);
  const json second = info["segments"][1];
  const std::string wanted = std::to_string(second["offsets"]["end"].get<int>() - 1);

  const json dry =
      json_of(run_varve({"trim", dir.path(), "--before", wanted, "--dry-run", "--json"}));
  CHECK(dry["dry_run"] == true);
  CHECK(dry["offsets"] == json{{"begin", 0}, {"end", std::stoi(wanted)}});
  CHECK(dry["segments"].size() == 1);
  CHECK(dry["bytes"] == info["segments"][0]["bytes"]);
  CHECK(dir.files() == before);

  json done = json_of(run_varve({"trim", dir.path(), "--before", wanted, "--json"}));
  CHECK(done["dry_run"] == false);
  done["dry_run"] = true;
  CHECK(done == dry);
  CHECK(!dir.files().contains(info["segments"][0]["file"].get<std::string>()));
  CHECK(run_varve({"read", dir.path(), "--max", "1"}).out == "record " + wanted + "\n");

  const std::string keep = std::to_string(info["segments"].back()["bytes"].get<int>() + 1);
  CHECK(run_varve({"trim", dir.path(), "--keep-bytes", keep}).out.find("forgot offsets") !=
        std::string::npos);
  CHECK(json_of(run_varve({"info", dir.path(), "--json"}))["segments"].size() == 2);
  CHECK(run_varve({"trim", dir.path(), "--before", "@2200-01-01"}).exit == ok);
  const json stats = json_of(run_varve({"stats", dir.path(), "--json"}));
  CHECK(stats["start_offset"] == 4000);
  CHECK(stats["end_offset"] == 4000);
  const Outcome beyond = run_varve({"trim", dir.path(), "--before", "4001"});
  check_complaint(beyond, error);
  CHECK(beyond.err.find("ends at 4000") != std::string::npos);
}

TEST_CASE("cli: stats are the gauges, for people, scripts and Prometheus", "[cli]") {
  const LogDir dir;
  dir.fill(10);
  const json stats = json_of(run_varve({"stats", dir.path(), "--json"}));
  CHECK(stats["segments"] == 1);
  CHECK(stats["end_offset"] == 10);
  CHECK(!stats.contains("records_appended_total"));
  CHECK(run_varve({"stats", dir.path()}).out.find("end_offset") != std::string::npos);
  const Outcome scraped = run_varve({"stats", dir.path(), "--prometheus"});
  CHECK(scraped.exit == ok);
  CHECK(scraped.out.find("varve_end_offset{log=\"" + dir.path() + "\"} 10\n") != std::string::npos);
  CHECK(scraped.out.find("_total") == std::string::npos);
}
