// varve backup and restore.
#include <string>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "log_dir.hpp"
#include "support/catch.hpp"

using namespace varve::test;
using nlohmann::json;
using varve::Offset;

TEST_CASE("cli: a backup is a log, and restoring it makes the log again", "[cli][backup]") {
  const LogDir dir;
  const LogDir backup;
  const LogDir restored;
  fill_small_segments(dir, 3000);
  RunningVarve writer({"append", dir.path()});  // beside which it is taken
  writer.write("the last one\n");
  CHECK(writer.read_line() == "3000");

  const json taken = json_of(run_varve({"backup", dir.path(), backup.path(), "--json"}));
  CHECK(taken["offsets"] == json{{"begin", 0}, {"end", 3001}});
  CHECK(taken["shared"].get<int>() == taken["segments"].get<int>() - 1);
  CHECK(run_varve({"verify", backup.path()}).exit == ok);
  const std::string everything = run_varve({"read", dir.path()}).out;
  CHECK(run_varve({"read", backup.path()}).out == everything);
  check_complaint(run_varve({"backup", dir.path(), backup.path()}), error);
  const LogDir copy;
  const json copied =
      json_of(run_varve({"backup", dir.path(), copy.path(), "--copy", "--full-speed", "--json"}));
  CHECK(copied["shared"] == 0);

  CHECK(run_varve({"restore", backup.path(), restored.path()}).exit == ok);
  CHECK(run_varve({"read", restored.path()}).out == everything);
  backup.damage(Offset{1500});
  const LogDir refused;
  check_complaint(run_varve({"restore", backup.path(), refused.path()}), corrupt);
  CHECK(refused.files().empty());
}
