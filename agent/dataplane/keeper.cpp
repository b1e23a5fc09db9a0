// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/keeper.h"

#include <net/if.h>

#include <algorithm>

#include "agent/dataplane/attach.h"
#include "agent/dataplane/features.h"
#include "agent/dataplane/host_address.h"
#include "agent/dataplane/own_address_table.h"
#include "agent/dataplane/pins.h"
#include "agent/dataplane/place.h"
#include "agent/dataplane/uninstall.h"
#include "agent/netlink/own_macs.h"
#include "maps/tables.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {
std::string join(const std::vector<std::string> &words) {
  std::string all;
  for (const std::string &word : words) all += (all.empty() ? "" : ",") + word;
  return all;
}

std::string name_of(uint32_t ifindex) {
  char name[IF_NAMESIZE] = "";
  return if_indextoname(ifindex, name) ? name : "";
}

// As one line.
std::string text_of(const Error &error) { return error.what + (error.hint.empty() ? "" : " (" + error.hint + ")"); }

// The interface of that name, else `known`, which had the name and lives under another; 0: gone.
uint32_t index_of(const std::string &name, uint32_t known) {
  const uint32_t named = if_nametoindex(name.c_str());
  return named == 0 && !name_of(known).empty() ? known : named;
}
}  // namespace

Result<> Keeper::open(const DataplaneOptions &options) {
  pin_directory_ = options.pin_directory;
  auto netlink = NetlinkQuery::open();
  if (!netlink) return netlink.error();
  netlink_.emplace(std::move(*netlink));
  for (const InterfaceOptions &interface : options.interfaces) {
    const uint32_t ifindex = if_nametoindex(interface.name.c_str());
    if (ifindex == 0)
      return Error{"interface " + interface.name + " does not exist",
                   "see `ip link`; `interfaces` in the configuration names it"};
    attachments_.push_back({interface, ifindex, {}});
  }
  tunnel_address_ = options.tunnel_address;
  if (auto had = check_tunnel_address(); !had) return had;
  if (auto own = check_nothing_foreign(pin_directory_); !own) return own;
  if (auto made = make_pin_directory(pin_directory_); !made) return made;
  auto lock = lock_pin_directory(pin_directory_, options.lock_patience);
  if (!lock) return lock.error();
  lock_ = std::move(*lock);
  first_ = pins_nothing(pin_directory_);
  return done();
}

Result<> Keeper::check_tunnel_address() const {
  if (tunnel_address_.empty()) return done();
  const auto had = host_has(tunnel_address_);
  if (!had) return had.error();
  if (*had) return done();
  return Error{
      "tunnel address " + tunnel_address_ + " is on no interface of this host: what peers send to it does not arrive",
      "give it to one, as by `ip address add " + tunnel_address_ +
          "/32 dev lo`, or write an address of this host into `tunnel.address` in the configuration"};
}

Result<> Keeper::describe() {
  auto mapped =
      maps::ArrayOpener(pin_directory_).into(table_, "interfaces").into(own_addresses_, "own_addresses").result();
  if (!mapped) return mapped;
  if (auto described = describe_all(Others::kStay); !described) warn({described.error().what});
  if (auto described = describe_own_addresses(); !described) warn({described.error().what});
  return done();
}

Result<> Keeper::describe_all(Others others) {
  const auto links = netlink_->links();
  if (!links) return links.error();
  std::vector<DescribedInterface> interfaces;
  for (const Attachment &attachment : attachments_)
    interfaces.push_back(
        {attachment.wanted.name, attachment.ifindex, attachment.wanted.side, own_macs(*links, attachment.ifindex)});
  return describe_interfaces(table_.span(), interfaces, others);
}

Result<> Keeper::describe_own_addresses() {
  const auto found = netlink_->own_addresses();
  if (!found) return found.error();
  std::vector<maps::address> own;
  for (const IpAddress &address : *found)
    if (const auto parsed = maps::parse_address(format_ip(address))) own.push_back(*parsed);
  return put_own_addresses(own_addresses_.span(), std::move(own));
}

int Keeper::program(const char *name) const { return bpf_program__fd(bpf_object__find_program_by_name(object_, name)); }

Result<> Keeper::put_in_place(bpf_object *object) {
  object_ = object;
  std::vector<Fd> held;  // all of them before the first pin is replaced: names may have changed places
  for (const Attachment &attachment : attachments_) held.push_back(pinned_xdp(pin_directory_, attachment.ifindex));
  for (size_t i = 0; i < attachments_.size(); ++i) {
    const Attachment &attachment = attachments_[i];
    if (auto vacant =
            check_vacant(pin_directory_, held[i], attachment.wanted, attachment.ifindex, program(kFastProgram));
        !vacant)
      return vacant;
  }
  for (size_t i = 0; i < attachments_.size(); ++i)
    if (auto placed = put_in_place(attachments_[i], std::move(held[i])); !placed) return placed;
  return put_traces_in_place();
}

Result<> Keeper::put_in_place(Attachment &attachment, Fd held) {
  const InterfaceOptions &wanted = attachment.wanted;
  const std::string former_mode = xdp_mode(held, attachment.ifindex);
  attachment.fresh = !held.valid();
  auto link = attach_xdp(pin_directory_, std::move(held), wanted, attachment.ifindex, program(kFastProgram));
  const Result<> attached = link ? done() : Result<>(link.error());
  if (!link && !former_mode.empty() && former_mode != wanted.mode)  // it had to make way for the attempt
    link = attach_xdp(pin_directory_, {}, {wanted.name, wanted.side, former_mode}, attachment.ifindex,
                      program(kFastProgram));
  if (!link) return attached;
  attachment.link = std::move(*link);
  const std::string pin = xdp_pin(pin_directory_, wanted.name);
  if (!is_pinned(attachment.link.get(), pin))
    if (auto pinned = replace_pin(attachment.link.get(), pin); !pinned) return pinned;
  const auto slow =
      attach_slow(pin_directory_, attachment.link, wanted.name, attachment.ifindex, program(kSlowProgram));
  return attached ? slow : attached;
}

void Keeper::undo() {
  if (!lock_.valid()) return;  // nothing is made before
  for (Attachment &attachment : attachments_)
    if (attachment.fresh)
      detach(pin_directory_, attachment.wanted.name, attachment.ifindex, std::move(attachment.link));
  if (!first_) return;
  if (auto removed = remove_dataplane(pin_directory_); !removed) log::warn("{}", removed.error().what);
}

// Redirect errors are tp_btf programs; the rest has a hook of its own.
Result<> Keeper::put_traces_in_place() {
  bpf_program *program = nullptr;
  bpf_object__for_each_program(program, object_) {
    const std::string name = bpf_program__name(program);
    if (bpf_program__type(program) == BPF_PROG_TYPE_TRACING) {
      auto link = attach_trace(name, bpf_program__fd(program));
      if (!link) return link.error();
      const std::string pin = maps::link_pin(pin_directory_, name);
      if (auto pinned = replace_pin(link->get(), pin); !pinned) return pinned;
      traces_.emplace_back(pin, std::move(*link));
    }
    if (auto pinned = replace_pin(bpf_program__fd(program), maps::program_pin(pin_directory_, name)); !pinned)
      return pinned;
  }
  return done();
}

std::vector<Dataplane::InterfaceView> Keeper::interfaces() const {
  std::vector<Dataplane::InterfaceView> views;
  for (const Attachment &attachment : attachments_) {
    const InterfaceOptions &wanted = attachment.wanted;
    const uint32_t ifindex = index_of(wanted.name, attachment.ifindex);
    const bool attached = ifindex != 0 && xdp_in_place(attachment.link, wanted, ifindex, program(kFastProgram));
    views.push_back({wanted.name, ifindex, wanted.side, attached ? wanted.mode : "detached"});
  }
  return views;
}

// Interfaces before pins: what is attached without a pin still serves as long as the agent runs.
void Keeper::mend() {
  if (!object_) return;
  std::vector<std::string> wrong;
  for (Attachment &attachment : attachments_) find_interface(attachment);
  if (!std::exchange(settled_, true)) take_off_others();
  if (auto described = describe_all(Others::kGo); !described) wrong.push_back(described.error().what);
  if (auto described = describe_own_addresses(); !described) wrong.push_back(described.error().what);
  if (auto had = check_tunnel_address(); !had) wrong.push_back(text_of(had.error()));
  for (Attachment &attachment : attachments_) mend_interface(attachment, wrong);
  if (auto pinned = mend_pins(); !pinned) wrong.push_back(pinned.error().what);
  warn(std::move(wrong));
  take_libbpf_messages();  // "no such filter" and the like are no news
}

void Keeper::warn(std::vector<std::string> wrong) {
  for (const std::string &text : wrong)
    if (std::find(warnings_.begin(), warnings_.end(), text) == warnings_.end()) log::warn("{}", text);
  warnings_ = std::move(wrong);
}

void Keeper::take_off_others() {
  std::vector<KeptInterface> keep;
  for (const Attachment &attachment : attachments_) keep.emplace_back(attachment.wanted.name, attachment.ifindex);
  for (const std::string &name : detach_others(pin_directory_, keep))
    log::info("interface no longer configured: detached interface={}", name);
}

void Keeper::find_interface(Attachment &attachment) {
  const uint32_t now = index_of(attachment.wanted.name, attachment.ifindex);
  if (now == attachment.ifindex) return;
  // Moved away, or its name is another's now: the old one may live on, and is none of ours any more.
  detach(pin_directory_, attachment.wanted.name, attachment.ifindex, std::move(attachment.link));
  attachment.ifindex = now;
  attachment.anew = true;
}

void Keeper::mend_interface(Attachment &attachment, std::vector<std::string> &wrong) {
  const InterfaceOptions &wanted = attachment.wanted;
  const uint32_t now = attachment.ifindex;
  if (now == 0) return wrong.push_back("interface " + wanted.name + " does not exist");
  if (const std::string called = name_of(now); called != wanted.name)
    wrong.push_back("interface " + wanted.name + " is called " + called + " now and keeps its programs; write `name: " +
                    called + "` under `interfaces` in the configuration before the next start");
  std::vector<std::string> back;
  if (!xdp_in_place(attachment.link, wanted, now, program(kFastProgram))) {
    if (auto link = attach_xdp(pin_directory_, std::move(attachment.link), wanted, now, program(kFastProgram)); link) {
      attachment.link = std::move(*link);
      back.push_back("xdp");
      const std::string pin = xdp_pin(pin_directory_, wanted.name);
      if (!is_pinned(attachment.link.get(), pin))
        if (auto pinned = replace_pin(attachment.link.get(), pin); !pinned)
          log::debug("{}", pinned.error().what);  // mend_pins() will say so
    } else {
      wrong.push_back(text_of(link.error()));
    }
  }
  if (!slow_in_place(now, program(kSlowProgram))) {
    if (auto attached = attach_slow(pin_directory_, attachment.link, wanted.name, now, program(kSlowProgram)); attached)
      back.push_back("tc");
    else
      wrong.push_back(text_of(attached.error()));
  }
  if (back.empty()) return;
  log::warn("programs attached anew interface={} ifindex={} programs={} reason={}", wanted.name, now, join(back),
            attachment.anew ? "the interface was made anew" : "they were removed");
  attachment.anew = false;
}

std::vector<Keeper::Pin> Keeper::pins() const {
  std::vector<Pin> all;
  bpf_map *map = nullptr;
  bpf_object__for_each_map(map, object_)
    if (const std::string name = maps::table_name(object_, map); !name.empty())
      all.push_back({maps::map_pin(pin_directory_, name), bpf_map__fd(map)});
  bpf_program *program = nullptr;
  bpf_object__for_each_program(program, object_)
    all.push_back({maps::program_pin(pin_directory_, bpf_program__name(program)), bpf_program__fd(program)});
  for (const auto &[pin, link] : traces_) all.push_back({pin, link.get()});
  for (const Attachment &attachment : attachments_)
    if (attachment.link.valid())
      all.push_back({xdp_pin(pin_directory_, attachment.wanted.name), attachment.link.get()});
  return all;
}

// A pin of somebody else's object (of an agent that failed to start, say) in the place of ours gives way.
Result<> Keeper::mend_pins() {
  if (auto kept = keep_pin_directory(pin_directory_, lock_); !kept) return kept;
  std::vector<std::string> back;
  for (const Pin &pin : pins()) {
    if (is_pinned(pin.fd, pin.path)) continue;
    if (auto pinned = replace_pin(pin.fd, pin.path); !pinned) return pinned;
    back.push_back(pin.path.substr(pin_directory_.size() + 1));
  }
  if (!back.empty()) log::warn("pins were removed and are made anew directory={} pins={}", pin_directory_, join(back));
  return done();
}

}  // namespace catsbpf::agent
