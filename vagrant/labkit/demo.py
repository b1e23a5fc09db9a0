# SPDX-License-Identifier: Apache-2.0
"""The main job on real traffic, as a short story with measured figures. Each claim is checked; the exit status is 0
only when all of them held. Leaves the lab as it found it."""
import collections
import re
import signal
import subprocess
import time

from . import ports, processes, ready, steering, traffic
from .topology import LabError
from .wait import must, until

FLOWS = 100          # new flows per count
WIDTH = 100


class Story:
    def __init__(self, lab, run_in, arguments_in):
        self.lab, self.run_in, self.arguments_in = lab, run_in, arguments_in
        self.failed = 0

    def chapter(self, number, text):
        print(f"\n{number}. {text}", flush=True)

    def say(self, text):
        for line in text.splitlines():
            print(f"   {line}"[:WIDTH].rstrip(), flush=True)

    def check(self, held, text):
        self.failed += not held
        print(f"   {'ok  ' if held else 'FAIL'} {text}"[:WIDTH], flush=True)
        return held

    def cli(self, node, *words):
        """What the operator would type, and what they would see."""
        done = self.run_in(self.lab, node, ["catsbpf", *words])
        print(f"   $ {node}# catsbpf {' '.join(words)}", flush=True)
        self.say(done.stdout if done.returncode == 0 else done.stdout + done.stderr)
        if done.returncode != 0:
            self.check(False, f"catsbpf {words[0]} ended with {done.returncode}")


def run(lab, run_in, arguments_in):
    story = Story(lab, run_in, arguments_in)
    started = time.monotonic()
    print("catsbpf: client -- f1 (ingress, C-PS) == core == f2 (egress) -- site 2, f3 (egress) -- site 3")
    print("Service AR1 (CS-ID 1) has an instance at both sites. Clients only know its address, 10.99.0.1.")
    steering.restore(lab)
    try:
        at_the_start(story)
        one_delta(story)
        a_request(story)
        killed(story)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        story.check(False, str(error))
        if getattr(error, "hint", ""):
            story.say(f"hint: {error.hint}")
    finally:
        put_back(story)
    further(story, time.monotonic() - started)
    return 1 if story.failed else 0


def sites_of(reached):
    return f"site 2: {reached[1]:3}   site 3: {reached[3]:3}"


def curl_flows(story, host, count, family):
    """New flows by unmodified curl processes."""
    fresh = ports.fresh(story.lab, "client", "tcp", count)
    loop = f"for p in {{{fresh[0]}..{fresh[-1]}}}; do curl -sS -{family} --local-port $p --max-time 5 http://{host}/; done"
    done = story.run_in(story.lab, "client", ["bash", "-c", loop])
    if done.stderr:
        story.say(done.stderr.splitlines()[0])
    return collections.Counter(int(i) for i in re.findall(r"CSCI-ID (\d+)", done.stdout))


def at_the_start(story):
    story.chapter(1, f"Where new flows go at the start ({FLOWS} runs of curl each)")
    story.cli("f1", "instances")
    for family in (4, 6):
        reached = curl_flows(story, "ar1", FLOWS, family)
        story.check(reached[1] + reached[3] == FLOWS and reached[1] and reached[3],
                    f"IPv{family}   {sites_of(reached)}   all {FLOWS} answered, both sites in use")


def one_delta(story):
    lab = story.lab
    story.chapter(2, "Site 2 sets GAS 0 by one delta, while a download from site 2 runs")
    download = traffic.Download.of_instance(story.arguments_in, lab, "ar1", "4m", 1)
    if not story.check(download is not None, "a download of 16 MiB from site 2 has begun"):
        return
    delta = steering.set_gas(lab, 1, 0)
    applied, running = time.monotonic(), download.running()
    reached = curl_flows(story, "ar1", FLOWS, 4) + traffic.new_udp_flows(lab, "fd00:99::1", FLOWS)
    story.check(reached[1] == 0 and reached[3] == 2 * FLOWS, f"new flows   {sites_of(reached)}   (TCP over IPv4, UDP over IPv6)")
    status, words, whole, took = download.finish()
    story.check(running and status == 0 and whole,
                f"the download went on: 16 MiB in {took:.1f} s, {download.started + took - applied:.1f} s of it after the delta, sha256 "
                + ("right" if whole else f"WRONG ({words})"))
    story.say(f"     the delta: {delta.wire_bytes} bytes on the session; from the site's call until f1's ring had changed: "
              f"{delta.milliseconds:.1f} ms")
    story.check(0 < delta.wire_bytes <= 64, "one row's change is a message of at most 64 bytes")
    steering.set_gas(lab, 1, lab.topology.instance(1).gas)


def a_request(story):
    lab = story.lab
    story.chapter(3, "A client asks for (Service ID, Gas, Cost, Delay) and gets its slot")
    instance = lab.topology.instance(1)
    before = steering.table(lab)
    request = f'{{"service_id":"AR1","gas":1,"cost":{instance.cost},"delay_ms":50}}'
    url = f"https://{lab.topology.ingress.agent['requests']}/v1/requests"
    out = story.run_in(lab, "client", ["curl", "-sS", "-D", "-", "-d", request, "-H", "Content-Type: application/json", url])
    head, _, body = out.stdout.replace("\r", "").partition("\n\n")
    location = next((line.split(": ", 1)[1] for line in head.splitlines() if line.lower().startswith("location:")), "")
    story.say(f"$ client# curl -d '{request}' \\\n       {url}")
    story.say(" ".join((body or out.stderr).split()))
    if not story.check(location and '"success":true' in body.replace(" ", ""), f"granted: {location}"):
        return
    during = must("GAS of the granted slot", lambda: _gas(lab, 1, before[1]["gas"] - 1), 5)
    reached = traffic.new_flows(lab, "10.99.0.1", 30)
    story.check(reached == {1: 30}, f"new flows of that client   {sites_of(reached)}   (granted: closest cost, CSCI-ID 1)")
    done = story.run_in(lab, "client", ["curl", "-sS", "-X", "DELETE", "-o", "/dev/null", "-w", "%{http_code}",
                                        url.removesuffix("/v1/requests") + location])
    after = until(lambda: _gas(lab, 1, before[1]["gas"]), 5)
    story.check(done.stdout.startswith("2") and bool(after),
                f"GAS of CSCI-ID 1: before {before[1]['gas']}, granted {during[1]['gas']}, finished "
                f"{(after or steering.table(lab))[1]['gas']}")


def _gas(lab, csci_id, gas):
    table = steering.table(lab)
    return table if table[csci_id]["gas"] == gas else None


def killed(story):
    lab = story.lab
    story.chapter(4, "kill -9 of f1's agent under load, then a restart")
    agent = processes.agent(lab, "f1")
    load = traffic.EchoLoad(lab, lab.topology.services["AR1"].addresses, flows=40, rate=50)
    http = traffic.HttpLoad(lab, "10.99.0.1", connections=8)
    with load, http:
        load.wait_for(1000)
        agent.stop(signal.SIGKILL)
        dead_from, sent = time.monotonic(), load.sent
        fresh = traffic.new_flows(lab, "10.99.0.1", 20)
        load.wait_for(8000)        # more than 3 s: the heartbeat is old, the data plane asks the kernel for next hops
        dead, without = time.monotonic() - dead_from, load.sent - sent
        agent.start()
        ready.cats(lab)
        load.wait_for(1000)
    story.say(f"     {dead:.1f} s without an agent ({without} UDP packets in them), restart included {load.sent} packets")
    story.check(sum(fresh.values()) == 20, f"new flows without an agent   {sites_of(fresh)}")
    story.check(load.lost == 0, f"UDP echo on 40 flows: {load.lost} of {load.sent} packets lost")
    story.check(load.moved == 0, f"UDP echo on 40 flows: {load.moved} flows moved to another instance")
    story.check(not http.errors and http.moved == 0,
                f"TCP on 8 connections: {http.answers} answers, {len(http.errors)} connections broken, {http.moved} moved")


def put_back(story):
    lab = story.lab
    try:
        processes.agent(lab, "f1").start()
        ready.cats(lab)
        steering.restore(lab)
    except (LabError, OSError) as error:
        story.check(False, f"restoring the lab: {error}")


def further(story, seconds):
    lab = "" if story.lab.name == "cats" else f" --name {story.lab.name}"
    result = "all of it held" if not story.failed else f"{story.failed} of the claims did NOT hold"
    print(f"\n{result} ({seconds:.0f} s). The lab is up; look further:")
    for command, what in (("exec f1 catsbpf status", "what the ingress does now"),
                          ("exec f1 catsbpf explain AR1", "which instance, by which rule"),
                          ("exec client curl http://ar1/", "a client"),
                          ("exec core tcpdump -nvi f1", "the tunnel's packets"),
                          ("down", "takes it down")):
        print(f"   sudo vagrant/lab{lab + ' ' + command:46}  {what}")
