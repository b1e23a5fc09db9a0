# SPDX-License-Identifier: Apache-2.0
"""The lab itself: up twice, side by side, nothing left; the same topology in VMs."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from labkit import main, network, processes, traffic
from labkit.lab import BPFFS, RUN, Lab
from labkit.topology import DIRECTORY, REPOSITORY, LabError
from runner import test, tool_output

def remains(lab):
    """Whatever of a lab is still there."""
    found = [p for p in (RUN / lab.name, BPFFS / lab.name) if p.exists()]
    found += [p for p in pathlib.Path("/run/netns").iterdir() if p.name.startswith(f"{lab.name}-")]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(f"catsbpf-lab/{lab.name}/".encode() in word for word in words):
            found.append(b" ".join(words))
    return found


def kernel_objects(lab):
    """(kind, id) of the BPF maps and programs that the lab's agents hold."""
    found = set()
    for node in lab.topology.agents():
        for info in pathlib.Path(f"/proc/{processes.agent(lab, node.name).pid()}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found |= set(re.findall(r"^(map|prog)_id:\s+(\d+)$", info.read_text(), re.M))
    return found


def all_kernel_objects():
    """(kind, id) of what the kernel has; it gives no id a second time soon."""
    return {(kind, str(entry["id"])) for kind in ("map", "prog") for entry in json.loads(network.command(["bpftool", "-j", kind, "list"]))}


@test
def up_a_second_time_changes_nothing(e2e):
    def state():
        links = {n: sorted(network.interfaces(e2e.lab, n)) for n in e2e.topology.nodes}
        return [p.pid() for p in processes.all_of(e2e.lab)], links, e2e.lab.authority.read_bytes()
    before = state()
    main.up(e2e.lab)
    assert state() == before


@test
def up_repairs_what_is_missing(e2e):
    nginx = processes.nginx(e2e.lab, e2e.topology.instance(3))
    nginx.stop()
    e2e.agent("f3").stop()
    network.in_node(e2e.lab, "core", ["ip", "link", "set", "f3", "down"])
    network.in_node(e2e.lab, "client", ["ip", "address", "flush", "dev", "net0"])
    main.up(e2e.lab)
    assert set(traffic.new_flows(e2e.lab, "fd00:99::1", 60)) == {1, 3}


@test
def two_labs_run_side_by_side_and_down_leaves_nothing(e2e):
    other = e2e.another_lab("b")
    main.down(other)
    try:
        main.up(other)
        assert set(traffic.new_flows(other, "10.99.0.1", 60)) == {1, 3}
        assert set(traffic.new_flows(e2e.lab, "10.99.0.1", 60)) == {1, 3}
        assert len(remains(other)) > 10
        held = kernel_objects(other)
        assert len(held) > 20 and held <= all_kernel_objects()
    finally:
        main.down(other)
    assert remains(other) == []
    e2e.eventually("the end of its maps and programs", lambda: not held & all_kernel_objects())
    assert set(traffic.new_flows(e2e.lab, "10.99.0.1", 60)) == {1, 3}


@test(lab=False)
def down_after_half_an_up_leaves_nothing(e2e):
    lab = e2e.another_lab("c")
    try:
        main.up(lab, agents=False)
        network.command(["ip", "-n", lab.namespace("client"), "link", "delete", "net0"])
        network.command(["ip", "netns", "delete", lab.namespace("core")])
    finally:
        main.down(lab)
    assert remains(lab) == []
    main.down(lab)      # a lab that is not there


@test(lab=False)
def node_that_lost_its_namespace_is_made_again_with_all_that_ran_there(e2e):
    lab = e2e.another_lab("g")

    def lose(*nodes):
        for node in nodes:
            network.command(["ip", "netns", "delete", lab.namespace(node)])

    def repaired(nodes):
        lost = {p.process() for p in processes.all_of(lab) if p.node in nodes}
        shown = tool_output([DIRECTORY / "lab", "--name", lab.name, "status"])
        assert shown.returncode == 1 and all(re.search(rf"^{n} .* MISSING$", shown.stdout, re.M) for n in nodes), shown
        main.up(lab)
        assert all(p.pid() for p in processes.all_of(lab))
        assert lost.isdisjoint(p.pid() for p in processes.all_of(lab)) and all(processes.start_time(pid) is None for pid in lost)
        assert set(traffic.new_flows(lab, "10.99.0.1", 60)) == {1, 3}
        shown = tool_output([DIRECTORY / "lab", "--name", lab.name, "status"])
        assert shown.returncode == 0 and "MISSING" not in shown.stdout, shown
    try:
        main.up(lab)
        lose("s3")
        repaired(["s3"])
        lose("s2")
        network.command(["ip", "netns", "add", lab.namespace("s2")])     # somebody's, empty
        repaired(["s2"])
        network.command(["umount", lab.namespace_path("sma3")])          # leaves a plain file
        repaired(["sma3"])
        lose("f1", "core", "f3", "platform")
        repaired(["f1", "core", "f3", "platform"])
        lose("f2", "s3")
    finally:
        main.down(lab)
    assert remains(lab) == []


@test(lab=False)
def up_says_at_once_that_an_agent_has_ended_and_how(e2e):
    with tempfile.TemporaryDirectory(prefix="catsbpf-build-") as folder:
        build = pathlib.Path(folder)
        build.chmod(0o755)
        lab = Lab(e2e.another_lab("h").name, build)
        for program in (lab.agent_program, lab.platform_program, lab.cli_program):
            program.parent.mkdir(parents=True)
        lab.platform_program.symlink_to(e2e.lab.platform_program)
        lab.cli_program.symlink_to(e2e.lab.cli_program)
        lab.agent_program.write_text("#!/bin/sh\necho so far\nsleep 1\nkill -SEGV $$\n")
        lab.agent_program.chmod(0o755)
        try:
            main.up(lab)
            assert False, "it is not up"
        except LabError as error:
            assert str(error) == "the agent of f2 has ended by SIGSEGV: so far", error
        finally:
            main.down(lab)


@test(lab=False)
def plain_routing_works_without_agents(e2e):
    lab = e2e.another_lab("d")
    try:
        main.up(lab, agents=False)
        assert traffic.new_flows(lab, "10.99.0.1", 10) == {1: 10}
        assert traffic.new_udp_flows(lab, "fd00:99::3", 10) == {4: 10}
    finally:
        main.down(lab)
    assert remains(lab) == []


@test(lab=False)
def command_says_what_is_wrong_and_what_to_do(e2e):
    lab = e2e.another_lab("e")
    for words, wanted in ((["exec", "nobody", "true"], "no node"), (["exec", "client", "true"], "is down"),
                          (["logs", "f1"], "is down")):
        done = tool_output([DIRECTORY / "lab", "--name", lab.name, *words])
        assert done.returncode == 1 and wanted in done.stderr and "hint:" in done.stderr, (words, done)


@test(lab=False)
def wrong_command_ends_before_anything_is_built_for_it(e2e):
    with tempfile.TemporaryDirectory(prefix="catsbpf-no-cmake-") as tools:
        cmake = pathlib.Path(tools) / "cmake"
        cmake.write_text("#!/bin/sh\necho built\nexit 1\n")
        cmake.chmod(0o755)
        env = {"PATH": f"{tools}:{os.environ['PATH']}"}
        for words, status, wanted in ((["--name", "Bad Name", "up"], 1, "not usable"), (["--name", "tc", "demo"], 1, "another tool"),
                                      (["up", "--nonsense"], 2, "--nonsense")):
            done = tool_output([DIRECTORY / "lab", *words], env=env)
            assert done.returncode == status and wanted in done.stderr and "the build failed" not in done.stderr, (words, done)


@test(lab=False)
def commands_answer_wrong_words_and_questions_for_help(e2e):
    end_to_end = ["/usr/bin/python3", "-B", REPOSITORY / "tests" / "e2e"]
    bench = REPOSITORY / "tests" / "bench" / "run"
    for words, status, wanted in (([DIRECTORY / "lab", "exec"], 2, "required: node\n"),
                                  ([bench, "--help"], 0, "usage: tests/bench/run"), ([bench, "nosuchfigure"], 2, "hint: est-geneve-10k"),
                                  ([*end_to_end, "nosuchtest"], 1, "hint: tests/e2e --list"),
                                  ([*end_to_end, "--list", "vagrantfile_is"], 0, "lab: vagrantfile_is_valid\n")):
        done = tool_output(words)
        assert done.returncode == status and wanted in done.stdout + done.stderr, (words, done)


@test(lab=False)
def build_that_waits_for_another_says_so(e2e):
    with tempfile.TemporaryDirectory(prefix="catsbpf-build-") as folder:
        root = pathlib.Path(folder)
        for made in ("tests", "tools", "build"):
            (root / made).mkdir()
        shutil.copy(REPOSITORY / "tests" / "build", root / "tests")
        (root / "tools" / "cmake").write_text('#!/bin/sh\necho "$@" >> built\n')
        (root / "tools" / "cmake").chmod(0o755)
        with open(root / "build" / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            build = subprocess.Popen([root / "tests" / "build", "release", "catsbpf"], stderr=subprocess.PIPE, text=True,
                                     env={"PATH": f"{root}/tools:{os.environ['PATH']}"})
            assert build.stderr.readline() == f"waiting for another build in {root}/build to end\n"
            assert not (root / "built").exists()
        assert build.wait(60) == 0 and build.stderr.read() == ""
        assert (root / "built").read_text() == f"--preset release\n--build {root}/build/release --target catsbpf\n"


@test
def status_fits_in_100_columns_and_leaves_nothing_out(e2e):
    words = [DIRECTORY / "lab", "--name", e2e.lab.name, "status"]
    done = tool_output(words)
    assert done.returncode == 0, done
    e2e.agent("sma3").stop()
    broken = tool_output(words)
    assert broken.returncode == 1, broken
    assert "catsbpfd DOWN" in broken.stdout and "NOT READY" in broken.stdout, broken
    for shown in (done.stdout, broken.stdout):
        assert max(map(len, shown.splitlines())) <= 100, shown
        assert all(f"{n.name} " in shown and n.purpose in shown for n in e2e.topology.nodes.values()), shown


@test
def demo_tells_its_story_and_all_of_it_holds(e2e):
    done = tool_output([DIRECTORY / "lab", "--name", e2e.lab.name, "--build", e2e.lab.build, "demo"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all of it held" in done.stdout and "FAIL" not in done.stdout, done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100, done.stdout


@test
def exec_sets_the_environment_from_any_directory(e2e):
    words = [DIRECTORY / "lab", "--name", e2e.lab.name, "--build", e2e.lab.build, "exec", "client"]
    done = tool_output([*words, "curl", "-s", "http://st1/"], cwd="/")
    assert done.stdout == "ST1 at s3 (CSCI-ID 4)\n", done
    done = tool_output([*words, "sh", "-c", "curl -sf $CATSBPF_PLATFORM_URL/v1/services && command -v catsbpf"], cwd="/tmp")
    assert done.returncode == 0 and '"AR1"' in done.stdout, done
    assert tool_output([*words, "sh", "-c", "exit 7"]).returncode == 7


@test(lab=False)
def vagrantfile_is_valid(e2e):
    e2e.need("vagrant", "vagrant and vagrant-libvirt")
    with tempfile.TemporaryDirectory(prefix="catsbpf-vagrant-") as home:
        done = tool_output(["vagrant", "validate"], cwd=DIRECTORY,
                           env={"PATH": os.environ["PATH"], "HOME": home, "VAGRANT_DOTFILE_PATH": home + "/state",
                                "VAGRANT_DEFAULT_PROVIDER": "libvirt", "LANG": "C.UTF-8"})
    assert done.returncode == 0 and "success" in (done.stdout + done.stderr).lower(), done
