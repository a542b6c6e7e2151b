// Metrics: printed once as Prometheus reads them or, with a port, served to it on 127.0.0.1 while the log is at work.
//   metrics_export [DIR [PORT]]
// docs/grafana.json is a dashboard for what it serves.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include <varve/varve.hpp>

namespace {

int fail(const std::string& message) {
  std::cerr << "metrics_export: " << message << '\n';
  return 1;
}

std::string scrape(const varve::Log& log) {
  const std::vector<varve::LogMetrics> logs{{"example", log.metrics()}};
  return varve::prometheus_text(logs);
}

// Answers one request, whatever it asks for: nothing else is served here. A real service has an HTTP server.
void answer(int connection, const varve::Log& log) {
  char request[1024];
  if (recv(connection, request, sizeof request, 0) > 0) {
    const std::string body = scrape(log);
    const std::string reply =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
        "Content-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    for (std::size_t sent = 0; sent < reply.size();) {
      const ssize_t n = send(connection, &reply[sent], reply.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<std::size_t>(n);
    }
  }
  close(connection);
}

// Appends a few records every 100 ms, and serves who asks meanwhile.
int serve(varve::Log& log, std::uint16_t port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 8) != 0)
    return fail("port " + std::to_string(port) + ": " + std::strerror(errno));
  std::cout << "http://127.0.0.1:" << port << "/metrics" << std::endl;
  for (;;) {
    for (int i = 0; i < 10; ++i)
      if (auto offset = log.append({.value = varve::bytes("work")}); !offset)
        return fail(offset.error().message());
    pollfd waiting{listener, POLLIN, 0};
    if (poll(&waiting, 1, 100) <= 0) continue;
    if (const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC); connection >= 0)
      answer(connection, log);
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto log = varve::Log::open(argc > 1 ? argv[1] : "metrics_export.varve");
  if (!log) return fail(log.error().message());
  if (argc > 2) return serve(*log, static_cast<std::uint16_t>(std::stoi(argv[2])));

  for (int i = 0; i < 100; ++i)
    if (auto offset = log->append({.value = varve::bytes("work")}); !offset)
      return fail(offset.error().message());
  std::cout << scrape(*log);
  if (log->metrics().durable_append_time.count() != 100) return 1;

  if (auto closed = log->close(); !closed) return fail(closed.error().message());
  return 0;
}
