// SPDX-License-Identifier: Apache-2.0
#include "util/http/connection.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "util/http/event_stream.h"
#include "util/http/uri.h"
#include "util/log.h"
#include "util/version.h"

namespace catsbpf::http {

namespace {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
constexpr std::chrono::seconds kRefusalTime{2};  // a connection over the limits gets no more

std::string head_of(const Response &response, const std::string &framing) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " +
                     std::string(beast_http::obsolete_reason(static_cast<beast_http::status>(response.status))) +
                     "\r\n";
  head += header_line("Server", "catsbpf/" CATSBPF_VERSION);
  head += header_line("Cache-Control", "no-store");
  head += framing;
  for (const auto &[name, value] : response.headers) head += header_line(name, value);
  return head + "\r\n";
}

bool is_cancellation(const std::exception &error) {
  const auto *system = dynamic_cast<const boost::system::system_error *>(&error);
  return system && system->code() == asio::error::operation_aborted;
}

}  // namespace

bool Shared::may_log() {
  const auto now = std::chrono::steady_clock::now();
  if (now - log_second_ >= std::chrono::seconds(1)) {
    log_second_ = now;
    logged_ = 0;
  }
  return ++logged_ <= 10;
}

asio::ip::address source_key(const asio::ip::address &address) {
  if (!address.is_v6()) return address;
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return asio::ip::address_v6(bytes);
}

Connection::Connection(std::shared_ptr<Shared> shared, Transport::Protocol::socket socket, Source source,
                       std::optional<Response> refusal)
    : shared_(std::move(shared)),
      transport_(std::make_shared<Transport>(std::move(socket), shared_->options.tls)),
      source_(std::move(source)),
      refusal_(std::move(refusal)) {
  shared_->connections.insert(this);
  if (source_) ++shared_->per_source[source_key(*source_)];
}

Connection::~Connection() { leave(); }

// Its place is free from now on, though the coroutine may still have to end.
void Connection::leave() {
  if (shared_->connections.erase(this) == 0 || !source_) return;
  const auto count = shared_->per_source.find(source_key(*source_));
  if (count != shared_->per_source.end() && --count->second == 0) shared_->per_source.erase(count);
}

void Connection::start() {
  // The completion handler holds the connection, and with it the signal, until the coroutine has ended.
  asio::co_spawn(transport_->executor(), run(),
                 asio::bind_cancellation_slot(
                     cancel_.slot(), [self = shared_from_this()](std::exception_ptr) { self->transport_->close(); }));
}

void Connection::stop() {
  const auto self = shared_from_this();
  leave();
  transport_->close();
  cancel_.emit(asio::cancellation_type::terminal);
}

std::string Connection::peer() const { return source_ ? source_->to_string() : shared_->options.listen; }

asio::awaitable<void> Connection::run() {
  const auto self = shared_from_this();
  bool more = true;
  if (shared_->options.tls) more = co_await handshake();
  for (bool first = true; more; first = false) more = co_await serve_one(first);
}

// TLS, and who the client is. A wrong identity is not cut off here: it is told with 403.
asio::awaitable<bool> Connection::handshake() {
  waiting_since_ = std::chrono::steady_clock::now();
  transport_->set_deadline(shared_->options.header);
  const auto error = co_await transport_->handshake(Transport::Side::kServer);
  if (error) {
    ++shared_->counts.refused_handshakes;
    const auto reason = error == asio::error::timed_out ? "time-out" : tls::handshake_reason(error, transport_->ssl());
    if (shared_->may_log())
      log::warn("http: tls handshake refused listen={} peer={} reason=\"{}\"", shared_->options.listen, peer(), reason);
    transport_->linger_close();
    co_return false;
  }
  const auto &expected = shared_->options.client;
  X509 *certificate = SSL_get0_peer_certificate(transport_->ssl());
  auto identity = expected ? tls::verify_peer(transport_->ssl(), *expected) : tls::identity_of(certificate);
  if (identity) {
    identity_ = *std::move(identity);
  } else if (expected && !refusal_) {
    ++shared_->counts.refused_identities;
    if (shared_->may_log())
      log::warn("http: client refused listen={} peer={} reason=\"{}\"", shared_->options.listen, peer(),
                identity.error().what);
    refusal_ = failure(403, identity.error());
  }
  co_return true;
}

// One request and its answer; false: the connection ends.
asio::awaitable<bool> Connection::serve_one(bool first) {
  const auto &options = shared_->options;
  waiting_since_ = std::chrono::steady_clock::now();
  const std::chrono::milliseconds header = refusal_ ? std::chrono::milliseconds(kRefusalTime) : options.header;
  if (buffer_.size() == 0) {
    transport_->set_deadline(first ? header : options.idle);
    const auto error = co_await transport_->read_some(buffer_);
    if (error) {
      // Under TLS 1.3 the peer's verdict on our certificate comes with the first read.
      if (first && error != asio::error::eof && error != asio::error::timed_out && transport_->ssl() &&
          shared_->may_log())
        log::warn("http: connection lost listen={} peer={} reason=\"{}\"", options.listen, peer(),
                  tls::handshake_reason(error, transport_->ssl()));
      co_return false;
    }
  }
  RequestParser parser;
  parser.header_limit(kMaxHeader);
  parser.body_limit(options.max_body);
  transport_->set_deadline(header);
  auto error = co_await read(*transport_, buffer_, parser, Until::kHeader);
  transport_->set_deadline(options.idle);
  if (!error && !refusal_) {
    if (boost::beast::iequals(parser.get()[beast_http::field::expect], "100-continue") && !parser.is_done())
      error = co_await transport_->write("HTTP/1.1 100 Continue\r\n\r\n");
    parser.eager(true);
    if (!error) error = co_await read(*transport_, buffer_, parser, Until::kEnd);
  }
  if (error) {
    co_await answer_broken(error);
    co_return false;
  }

  auto message = parser.release();
  const bool head = message.method() == beast_http::verb::head;
  const bool keep_alive = message.keep_alive() && !refusal_;
  Request request;
  request.method = std::string(message.method_string());
  request.headers = header_map(message);
  request.body = std::move(message.body());
  request.source = source_;
  request.identity = identity_;
  auto target = parse_target({message.target().data(), message.target().size()});
  if (target) {
    request.path = target->path;
    request.query = target->query;
  }
  transport_->clear_deadline();
  waiting_since_.reset();
  ++shared_->counts.requests;
  std::string line = request.method + " " + request.path;
  Response response;
  if (refusal_) {
    response = *refusal_;
  } else if (!target) {
    response = failure(400, target.error());
  } else {
    response = co_await handle(std::move(request), std::move(target->segments));
  }
  log::debug("http: {} status={} peer={}", line, response.status, peer());
  if (response.stream && !head) {
    co_await stream(std::move(response), message.version() >= 11);
    co_return false;
  }
  co_await answer(std::move(response), keep_alive, head);
  co_return keep_alive;
}

asio::awaitable<Response> Connection::handle(Request request, std::vector<std::string> segments) {
  const auto match = shared_->router.find(request.method, segments);
  if (!match.handler) {
    if (match.allowed.empty()) co_return failure(404, Error{"no such path: " + request.path});
    auto response = failure(405, Error{request.method + " is not possible on " + request.path, "use " + match.allowed});
    response.headers["Allow"] = match.allowed;
    co_return response;
  }
  request.parameters = match.parameters;
  const std::string path = request.path;
  try {
    co_return co_await (*match.handler)(std::move(request));
  } catch (const std::exception &error) {
    if (is_cancellation(error)) throw;
    log::error("http: handler of {} failed: {}", path, error.what());
  }
  co_return failure(500, Error{"internal error on " + path, "see the server's log"});
}

asio::awaitable<void> Connection::answer(Response response, bool keep_alive, bool head) {
  std::string framing;
  if (response.status != 204 && response.status != 304) {
    if (!response.body.empty()) framing += header_line("Content-Type", response.content_type);
    framing += header_line("Content-Length", std::to_string(response.body.size()));
  }
  framing += header_line("Connection", keep_alive ? "keep-alive" : "close");
  waiting_since_ = std::chrono::steady_clock::now();  // for the client to take it
  transport_->set_deadline(shared_->options.idle);
  // Put together before: GCC 12 destroys temporaries of ?: twice where the full expression has a co_await.
  std::string text = head_of(response, framing);
  if (!head) text += response.body;
  const auto error = co_await transport_->write(std::move(text));
  if (!error && !keep_alive) co_await transport_->shutdown();
}

// What could not be read as a request.
asio::awaitable<void> Connection::answer_broken(ErrorCode error) {
  Response response;
  const auto &options = shared_->options;
  if (error == beast_http::error::body_limit) {
    response = failure(
        413, Error{"body is larger than " + std::to_string(options.max_body) + " bytes", "send less at a time"});
  } else if (error == beast_http::error::header_limit) {
    response = failure(431, Error{"header is larger than " + std::to_string(kMaxHeader) + " bytes",
                                  "send fewer or shorter header fields"});
  } else if (error.category() == make_error_code(beast_http::error::bad_method).category() &&
             error != beast_http::error::end_of_stream && error != beast_http::error::partial_message) {
    response = failure(400, Error{"not an HTTP/1.1 request: " + error.message(), "curl speaks it; lines end in CR LF"});
  } else {
    if (error == asio::error::timed_out && shared_->may_log())
      log::info("http: closed a request that did not come to its end listen={} peer={}", options.listen, peer());
    co_return;
  }
  co_await answer(std::move(response), false, false);
}

asio::awaitable<void> Connection::stream(Response response, bool chunked) {
  response.content_type = "text/event-stream";
  const auto events = std::make_shared<StreamOnTransport>(transport_, chunked, shared_->options.idle);
  const std::string framing = header_line("Content-Type", response.content_type) + header_line("Connection", "close") +
                              header_line("X-Accel-Buffering", "no") +
                              (chunked ? header_line("Transfer-Encoding", "chunked") : "");
  transport_->set_deadline(shared_->options.idle);
  const auto error = co_await transport_->write(head_of(response, framing));
  if (error) co_return;
  transport_->clear_deadline();
  asio::co_spawn(transport_->executor(), watch_for_close(), asio::detached);
  bool whole = false;
  try {
    co_await response.stream(events);
    whole = true;
  } catch (const std::exception &error) {
    if (!is_cancellation(error)) log::error("http: event stream failed: {}", error.what());
  }
  if (whole) co_await events->finish();
  events->end();
}

// The only thing that a client of an event stream still says is goodbye. Reading sees it at once; sending would
// only at the next event.
asio::awaitable<void> Connection::watch_for_close() {
  const auto self = shared_from_this();
  boost::beast::flat_buffer ignored;
  for (ErrorCode error; !error; ignored.clear()) error = co_await transport_->read_some(ignored);
  cancel_.emit(asio::cancellation_type::terminal);
}

}  // namespace catsbpf::http
