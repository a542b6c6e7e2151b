// varve compact: what it keeps, and what it says of that.
#include <string>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "log_dir.hpp"
#include "support/catch.hpp"

using namespace varve::test;
using nlohmann::json;

TEST_CASE("cli: compact keeps the latest of each key, and says so before", "[cli][compaction]") {
  const LogDir dir;
  std::string lines;
  for (int i = 0; i < 4000; ++i)
    lines += "key " + std::to_string(i % 10) + "=value " + std::to_string(i) + "\n";
  REQUIRE(
      run_varve({"append", dir.path(), "--key-separator", "=", "--segment-bytes", "16384"}, lines)
          .exit == ok);
  const auto before = dir.files();

  json dry = json_of(run_varve({"compact", dir.path(), "--dry-run", "--json"}));
  CHECK(dry["dry_run"] == true);
  CHECK(dry["segments_before"].get<int>() > 3);
  CHECK(dry["records_removed"].get<int>() > 3000);
  CHECK(dir.files() == before);

  json done = json_of(run_varve({"compact", dir.path(), "--json"}));
  CHECK(done["dry_run"] == false);
  for (const char* field :
       {"segments_before", "segments_after", "records_removed", "cleaned", "keys"})
    CHECK(done[field] == dry[field]);
  CHECK(done["segments_left_alone"] == 0);
  CHECK(json_of(run_varve({"verify", dir.path(), "--json"}))["intact"] == true);
  const json first = json::parse(run_varve({"read", dir.path(), "--max", "1", "--json"}).out);
  CHECK(first["offset"].get<int>() >= done["cleaned"].get<int>() - 10);
  CHECK(first["value"] == "value " + std::to_string(first["offset"].get<int>()));

  const Outcome again = run_varve({"compact", dir.path(), "--key-map-bytes", "1"});
  CHECK(again.exit == ok);
  CHECK(again.out.find("removed 0 superseded records") != std::string::npos);
  check_complaint(run_varve({"compact", dir.path() + " that is not there"}), error);
}
