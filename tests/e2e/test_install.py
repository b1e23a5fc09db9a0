# SPDX-License-Identifier: Apache-2.0
"""`cmake --install`: everything is where the units and the programs look for it, whatever the prefix."""
import contextlib
import os
import pathlib
import platform
import signal
import subprocess
import tempfile

from runner import test

WRITE_TO_STANDARD_OUTPUT = f"{1 if platform.machine() == 'x86_64' else 64} 0x1 "
UNITS = {"catsbpfd.service": "catsbpfd.yaml", "cats-platformd.service": "cats-platformd.yaml"}


def install(e2e, stage, prefix):
    """Installs below `stage`; returns the folders of programs and configuration there."""
    subprocess.run(["cmake", "--install", e2e.lab.build, "--prefix", prefix], env=os.environ | {"DESTDIR": str(stage)},
                   check=True, capture_output=True, text=True)
    etc = "/etc/catsbpf" if prefix in ("/usr", "/usr/local") else f"{prefix}/etc/catsbpf"
    return pathlib.Path(f"{stage}{prefix}"), pathlib.Path(f"{stage}{etc}")


def say(*words):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@test(lab=False)
def units_programs_and_configuration_agree_for_every_prefix(e2e):
    for prefix in ("/usr", "/usr/local", "/opt/catsbpf"):
        with tempfile.TemporaryDirectory() as stage:
            installed, etc = install(e2e, stage, prefix)
            for name, configuration in UNITS.items():
                unit = (installed / "lib/systemd/system" / name).read_text()
                assert "@" not in unit.replace("@system-service", "").replace("@privileged @resources", ""), unit
                starts = [line.split("=", 1)[1].lstrip("+").split() for line in unit.splitlines() if line.startswith("ExecStart")]
                for words in (w for w in starts if "cats" in w[0]):
                    assert os.access(f"{stage}{words[0]}", os.X_OK), words
                    assert words[1:3] == ["--config", str(etc).removeprefix(stage) + "/" + configuration], words
            assert (etc / "catsbpfd.yaml.example").exists() and not (etc / "catsbpfd.yaml").exists()
            assert say(installed / "sbin/cats-platformd", "--config", etc / "cats-platformd.yaml", "--check")
            for program in ("bin/catsbpf", "sbin/catsbpfd", "sbin/cats-platformd"):
                assert program.split("/")[1] in say(installed / program, "--version")
            for page in ("man7/catsbpf-api.7", "man8/catsbpf.8", "man8/catsbpfd.8", "man5/catsbpfd.yaml.5",
                         "man8/cats-platformd.8", "man5/catsbpf-service.5"):
                assert (installed / "share/man" / page).exists(), page


@test(lab=False)
def units_are_accepted_by_systemd(e2e):
    e2e.need("systemd-analyze", "systemd")
    with tempfile.TemporaryDirectory() as stage:
        installed, _ = install(e2e, stage, "/usr")
        for name in UNITS:
            unit = installed / "lib/systemd/system" / name
            unit.write_text(unit.read_text().replace("=/usr/sbin/cats", f"={stage}/usr/sbin/cats"))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
            ours = [line for line in done.stderr.splitlines() if name in line]
            assert done.returncode == 0 and not ours, done.stderr


@test(lab=False)
def hangup_does_not_end_a_daemon_that_has_just_started(e2e):
    with tempfile.TemporaryDirectory() as stage:
        installed, _ = install(e2e, stage, "/usr")
        for name in ("catsbpfd", "cats-platformd"):
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x" * 4096)
            os.set_blocking(writer, True)
            daemon = subprocess.Popen([installed / "sbin" / name, "--version"], stdout=writer)
            os.close(writer)
            system_call = pathlib.Path(f"/proc/{daemon.pid}/syscall")
            e2e.eventually("it is in main(), and waits for its reader",
                           lambda: system_call.read_text().startswith(WRITE_TO_STANDARD_OUTPUT))
            for number in (signal.SIGHUP, signal.SIGXFSZ):
                daemon.send_signal(number)
            with os.fdopen(reader, "rb") as pipe:
                said = pipe.read()
            assert daemon.wait() == 0 and said.endswith(b"\n"), (name, daemon.returncode)


@test(lab=False)
def configuration_of_the_operator_stays_when_installed_again(e2e):
    with tempfile.TemporaryDirectory() as stage:
        _, etc = install(e2e, stage, "/usr")
        (etc / "cats-platformd.yaml").write_text("listen: 127.0.0.1:9000\n")
        install(e2e, stage, "/usr")
        assert (etc / "cats-platformd.yaml").read_text() == "listen: 127.0.0.1:9000\n"
