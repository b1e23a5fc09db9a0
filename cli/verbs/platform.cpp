// SPDX-License-Identifier: Apache-2.0
// The public service table, on the platform.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

namespace {

using Texts = google::protobuf::RepeatedPtrField<std::string>;

std::string joined(const Texts &texts) {
  std::string all;
  for (const auto &text : texts) all += (all.empty() ? "" : ", ") + text;
  return or_dash(all);
}

std::string locator_text(const v1::Locator &locator) {
  std::string text = locator.prefix();
  if (!locator.protocol().empty()) text += " " + locator.protocol();
  if (locator.port_min() != 0) text += " " + std::to_string(locator.port_min());
  if (locator.port_max() > locator.port_min()) text += "-" + std::to_string(locator.port_max());
  return text;
}

std::string computing_time_text(const v1::ComputingTime &time) {
  if (!time.text().empty()) return time.text();
  if (time.max_us() == 0) return "-";
  return (time.min_us() > 0 ? milliseconds(time.min_us() / 1000.0) + "-" : "") + milliseconds(time.max_us() / 1000.0) +
         " ms";
}

Result<Exit> put(Context &context, const std::string &path) {
  v1::Service service;
  auto file = read_message_file(path, service);
  if (!file) return file.error();
  if (service.service_id().empty()) {
    file->problem("service_id", "is missing", "every service has a Service ID");
    return file->error();
  }
  const Call call{.api = Api::platform,
                  .method = "PUT",
                  .path = "/v1/services/" + url_encoded(service.service_id()),
                  .body = to_json(service)};
  const auto stored = ask<v1::Service>(context, call);
  if (!stored) return file->placed(stored.error());
  show(context, *stored);
  return Exit::done;
}

Result<Exit> remove(Context &context, const std::string &id) {
  const auto reply =
      context.remote.call({.api = Api::platform, .method = "DELETE", .path = "/v1/services/" + url_encoded(id)});
  if (!reply) return reply.error();
  if (!reply->good()) return reply->error();
  v1::ServiceChange change;
  change.set_removed(id);
  show(context, change);
  return Exit::done;
}

Result<Exit> watch(Context &context) {
  const auto print = [&](const Event &event) {
    v1::ServiceChange change;
    if (event.name != "put" && event.name != "remove") return;  // "snapshot end"
    if (const auto parsed = from_json(event.data, change); !parsed) {
      context.err << "error: cannot read an event: " << printable(parsed.error().what) << "\n";
      return;
    }
    if (context.options.json)
      context.out << to_json(change) << std::endl;
    else
      context.out << render(change, context.layout) << std::flush;
  };
  const auto ended = context.remote.watch({.api = Api::platform, .path = "/v1/services/watch"}, print);
  if (!ended) return ended.error();
  return Exit::done;
}

}  // namespace

std::string render(const v1::ServiceCatalogue &catalogue, const Layout &layout) {
  Table table({{"SERVICE", Align::left, Shorten::end},
               {"CS-ID", Align::right},
               {"NAME", Align::left, Shorten::end, 12},
               {"LOCATOR", Align::left, Shorten::middle, 20},
               {"COMPUTING TIME", Align::left, Shorten::end},
               {"REVISION", Align::right}});
  for (const auto &service : catalogue.services()) {
    table.row({service.service_id(), std::to_string(service.cs_id()), or_dash(service.service_name()),
               service.locators_size() > 0 ? locator_text(service.locators(0)) : "-",
               computing_time_text(service.computing_time()), std::to_string(service.revision())});
    for (int i = 1; i < service.locators_size(); ++i) table.row({"", "", "", locator_text(service.locators(i))});
  }
  return table.render(layout) + "revision " + std::to_string(catalogue.revision()) + "\n";
}

std::string render(const v1::Service &service, const Layout &layout) {
  Facts facts;
  facts.add("service", service.service_id());
  facts.add("CS-ID", std::to_string(service.cs_id()));
  facts.add("name", or_dash(service.service_name()));
  facts.add("description", or_dash(service.service_description()));
  facts.add("input", joined(service.input()));
  facts.add("running code", or_dash(service.service_running_code()));
  facts.add("computing", joined(service.computing_requirement()));
  facts.add("storage", joined(service.storage_requirement()));
  facts.add("computing time", computing_time_text(service.computing_time()));
  facts.add("depends on", joined(service.software_dependency()));
  for (const auto &locator : service.locators()) facts.add("locator", locator_text(locator));
  const auto &affinity = service.affinity();
  if (affinity.timeout_s() != 0) facts.add("flow timeout", std::to_string(affinity.timeout_s()) + "s");
  const auto policy = [](const std::string &name, const char *unless) { return name.empty() ? unless : name; };
  facts.add("policy", policy(service.policy().ring(), "balanced") + " for the ring, " +
                          policy(service.policy().request(), "closest-cost") + " for requests");
  if (service.sla().max_delay_us() != 0)
    facts.add("bearable delay", milliseconds(service.sla().max_delay_us() / 1000.0) + " ms");
  facts.add("revision", std::to_string(service.revision()));
  return facts.render(layout);
}

std::string render(const v1::ServiceChange &change, const Layout &layout) {
  const std::string revision = change.revision() == 0 ? "" : ", revision " + std::to_string(change.revision());
  if (!change.removed().empty()) return wrap(printable("removed " + change.removed() + revision), layout.width, 0);
  const auto &service = change.put();
  std::string text = "put " + service.service_id() + " (CS-ID " + std::to_string(service.cs_id()) + ")";
  if (!service.service_name().empty()) text += " " + service.service_name();
  for (const auto &locator : service.locators()) text += ", " + locator_text(locator);
  return wrap(printable(text + revision), layout.width, 0);
}

Result<Exit> platform(Context &context, const Arguments &arguments) {
  const auto &words = arguments.positional();
  const auto what = words[0];
  const bool takes_word = what == "get" || what == "put" || what == "remove" || what == "search";
  if (!takes_word && what != "list" && what != "watch") return usage_error("unknown 'platform " + what + "'");
  if (takes_word && words.size() < 2) return usage_error("'platform " + what + "' needs one word more");
  if (words.size() > (takes_word ? 2U : 1U) && what != "search")
    return usage_error("unexpected word '" + words.back() + "'");
  if (what == "list") return show_answer<v1::ServiceCatalogue>(context, {.api = Api::platform, .path = "/v1/services"});
  if (what == "watch") return watch(context);
  if (what == "get")
    return show_answer<v1::Service>(context, {.api = Api::platform, .path = "/v1/services/" + url_encoded(words[1])});
  if (what == "put") return put(context, words[1]);
  if (what == "remove") return remove(context, words[1]);
  std::string text = words[1];
  for (std::size_t i = 2; i < words.size(); ++i) text += " " + words[i];
  return show_answer<v1::ServiceCatalogue>(context,
                                           {.api = Api::platform, .path = "/v1/services?search=" + url_encoded(text)});
}

}  // namespace catsbpf::cli
