# SPDX-License-Identifier: Apache-2.0
"""vagrant/lab after what is missing was installed and built: its commands."""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

from . import certificates, configurations, demo, network, processes, ready
from .lab import BPFFS, RUN, Lab, command
from .topology import REPOSITORY, LabError

MACHINE_FILES = "build/machines"
HOSTS = pathlib.Path("/etc/hosts")


def up(lab, agents=True, wait=True):
    for program in (lab.agent_program, lab.platform_program, lab.cli_program) if agents else ():
        if not program.exists():
            raise LabError(f"{program} does not exist", f"cmake --build {lab.build}")
    if not os.path.ismount(BPFFS):
        command(["mount", "-t", "bpf", "bpf", BPFFS])
    if not HOSTS.exists():
        HOSTS.touch()       # nodes cover it with their own; a bare chroot has none
    forget_lost_nodes(lab)
    network.up(lab)
    certificates.up(lab)
    configurations.up(lab)
    for program in processes.of_sites(lab):
        program.start()
    ready.sites(lab)
    if agents:
        for program in processes.of_cats(lab):
            program.start()
    if agents and wait:
        ready.publish_tables(lab)
        ready.cats(lab)


def forget_lost_nodes(lab):
    """A node that lost its namespace starts as a machine after a reset does: nothing runs there, nothing is pinned."""
    for node in lab.nodes():
        lost = [p for p in processes.all_of(lab) if p.node == node.name and p.is_lost()]
        for program in lost:
            program.stop()
        if lost or not network.has_namespace(lab, node.name):
            shutil.rmtree(lab.pins(node.name), ignore_errors=True)


def machine(lab):
    """This machine becomes the lab's one node (vagrant/Vagrantfile). Its certificate comes from the shared authority."""
    made = REPOSITORY / MACHINE_FILES
    if not made.is_dir():
        raise LabError(f"{made} does not exist", "vagrant/labkit certificates makes it, on the machine that runs vagrant")
    os.makedirs(lab.run, exist_ok=True)
    for name in ("tls", lab.only):
        if (made / name).is_dir():
            shutil.copytree(made / name, lab.run / name, dirs_exist_ok=True)
    up(lab, wait=False)
    ready.publish_tables(lab, 300)
    have = HOSTS.read_text()
    with open(HOSTS, "a") as hosts:
        hosts.writelines(f"{line}\n" for line in configurations.hosts(lab).splitlines() if line not in have)


def machine_certificates(lab):
    """For all machines, into the build directory, from where they are copied with the programs."""
    lab.run = REPOSITORY / MACHINE_FILES
    lab.authority = lab.run / "tls" / "ca.crt"
    certificates.up(lab)


def down(lab):
    """Removes whatever of the lab is there, also after an `up` that stopped half way."""
    for program in processes.all_of(lab)[::-1]:
        program.send(signal.SIGTERM)
    for program in processes.all_of(lab):
        program.stop()
    for node in lab.existing_namespaces():
        network.end_processes(lab, node)
    for node in lab.topology.nodes:
        shutil.rmtree(lab.pins(node), ignore_errors=True)
    if lab.pin_root.is_dir() and not any(lab.pin_root.iterdir()):
        lab.pin_root.rmdir()
    network.down(lab)
    shutil.rmtree(lab.run, ignore_errors=True)
    if RUN.is_dir() and not any(RUN.iterdir()):
        RUN.rmdir()


def status(lab):
    if not lab.existing_namespaces():
        print(f"lab {lab.name} is down")
        return 1
    whole = all(p.pid() for p in processes.all_of(lab))
    programs = {}
    for program in processes.all_of(lab):
        programs.setdefault(program.node, []).append(f"{program.name} {'up' if program.pid() else 'DOWN'}")
    print(f"{'node':9} {'is':47} state")
    for name, node in lab.topology.nodes.items():
        missing = network.missing_interfaces(lab, name) if network.has_namespace(lab, name) else ["network"]
        whole = whole and not missing
        print(f"{name:9} {node.purpose:47} {', '.join(missing) + ' MISSING' if missing else ', '.join(programs.get(name, ['up']))}")
    steering = ready.steering(lab)
    print(textwrap.fill(f"steering  {'ready' if steering else 'NOT READY: ' + steering.text}", 100, subsequent_indent=" " * 10))
    return 0 if whole and steering else 1


def must_be_up(lab, node):
    existing = lab.existing_namespaces()
    if node not in existing:
        raise LabError(f"node {node} of lab {lab.name} is down" if existing else f"lab {lab.name} is down",
                       f"sudo vagrant/lab --name {lab.name} up")


def arguments_in(lab, node, words):
    """The command that runs `words` in a node: its network, its hosts file, the host's other mounts."""
    if node not in lab.topology.nodes:
        raise LabError(f"no node {node!r}", f"nodes: {' '.join(lab.topology.nodes)}")
    must_be_up(lab, node)
    bind = f'mount --bind "$0" {HOSTS} && exec "$@"'
    return ["nsenter", f"--net={lab.namespace_path(node)}", "--", "unshare", "--mount", "--propagation", "slave", "--",
            "sh", "-c", bind, str(lab.hosts), *words]


def run_in(lab, node, words, **options):
    """Runs a command in a node and returns the finished process (tests, demo)."""
    options.setdefault("capture_output", True)
    options.setdefault("text", True)
    options.setdefault("errors", "replace")
    options.setdefault("timeout", 60)
    return subprocess.run(arguments_in(lab, node, [str(w) for w in words]), env=lab.environment(node), **options)


def logs(lab, node):
    programs = [p for p in processes.all_of(lab) if p.node == node]
    if not programs:
        raise LabError(f"nothing runs on {node!r}", f"nodes: {' '.join(sorted({p.node for p in processes.all_of(lab)}))}")
    must_be_up(lab, node)
    for program in programs:
        print(f"==> {program.log_file}\n{program.log(1000)}")


def parse(words):
    parser = argparse.ArgumentParser(prog="vagrant/lab", description="figure 1 of the CMAS draft in network namespaces")
    parser.add_argument("--name", default="cats", help="name of the lab (default cats); labs with different names run side by side")
    parser.add_argument("--build", help="build directory with the programs (default build/release)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    starts = verbs.add_parser("up", help="bring the lab up, or repair what is missing")
    starts.add_argument("--no-agents", action="store_true", help="plain routing only: no agents, no platform")
    verbs.add_parser("down", help="take the lab down; nothing stays")
    verbs.add_parser("status", help="what runs")
    verbs.add_parser("demo", help="show the main job on real traffic")
    runs = verbs.add_parser("exec", help="run a command on a node")
    runs.add_argument("node")
    runs.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="default: a shell").required = False
    shows = verbs.add_parser("logs", help="what the programs of a node said")
    shows.add_argument("node")
    verbs.add_parser("certificates", help="for vagrant/Vagrantfile: certificates of all machines")
    becomes = verbs.add_parser("machine", help="for vagrant/Vagrantfile: this machine becomes that node")
    becomes.add_argument("node")
    return parser.parse_args(words)


def needs(options):
    """What vagrant/lab makes sure of before the command runs: programs that it builds, tools, or nothing."""
    if options.verb not in ("up", "demo"):
        return ""
    own_programs = options.build or os.environ.get("CATSBPF_BUILD") or getattr(options, "no_agents", False)
    return "lab" if own_programs else "build"


def main(words):
    only_needs = words[:1] == ["--needs"]
    options = parse(words[only_needs:])
    os.umask(0o022)
    try:
        lab = Lab(options.name, options.build)
        if only_needs:
            print(needs(options))
            return 0
        return run_verb(lab, options)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run_verb(lab, options):
    if options.verb == "up":
        up(lab, not options.no_agents)
        print(f"lab {lab.name} is up: sudo vagrant/lab{'' if lab.name == 'cats' else ' --name ' + lab.name} status | demo | "
              "exec NODE COMMAND | down")
    elif options.verb == "down":
        down(lab)
    elif options.verb == "status":
        return status(lab)
    elif options.verb == "certificates":
        machine_certificates(lab)
    elif options.verb == "machine":
        if options.node not in lab.topology.nodes:
            raise LabError(f"no node {options.node!r}", f"nodes: {' '.join(lab.topology.nodes)}")
        lab.only = options.node
        machine(lab)
    elif options.verb == "logs":
        logs(lab, options.node)
    elif options.verb == "exec":
        words = options.words[1:] if options.words[:1] == ["--"] else options.words
        arguments = arguments_in(lab, options.node, words or [os.environ.get("SHELL", "/bin/bash")])
        os.execvpe(arguments[0], arguments, lab.environment(options.node))
    else:
        up(lab)
        return demo.run(lab, run_in, arguments_in)
    return 0
