#include "codecs.hpp"

#ifdef VARVE_CLI_COMPRESS
#include "varve/compress/codecs.hpp"
#endif

namespace varve::cli {

#ifdef VARVE_CLI_COMPRESS

std::vector<std::shared_ptr<const Codec>> all_codecs() { return compress::all_codecs(); }

Result<Compression> parse_compression(std::string_view text) {
  return compress::parse_compression(text);
}

#else

std::vector<std::shared_ptr<const Codec>> all_codecs() { return {}; }

Result<Compression> parse_compression(std::string_view text) {
  if (text == "none") return Compression{};
  return Error(Errc::invalid_argument, "this command was built without varve::compress");
}

#endif

Options looking() {
  Options options;
  options.access = Access::read_only;
  options.create = false;
  options.codecs = all_codecs();
  return options;
}

}  // namespace varve::cli
