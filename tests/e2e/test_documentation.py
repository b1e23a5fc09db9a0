# SPDX-License-Identifier: Apache-2.0
"""What the manual says can be typed: the examples of catsbpf-api(7) and catsbpf-service(5), in the lab, as they stand
there."""
import json
import pathlib
import re
import tempfile

from labkit.lab import REPOSITORY
from runner import test, tool_output

PAGE = REPOSITORY / "agent/api/catsbpf-api.7"
SERVICE_PAGE = REPOSITORY / "cmas/platform/catsbpf-service.5"


def examples():
    """(node, HTTP status or "-", command) of each example: a comment that says the first two, then the command, which
    goes on below where a line ends in a backslash or a pipe."""
    text = PAGE.read_text().replace("\\-", "-").replace("\\(aq", "'")
    text = text.replace("\\e\\fP\n\\fB", "").replace("|\\fP\n\\fB", "|")
    return re.findall(r'^\.\\" (\w+) (\d+|-)\n\\fB\$ (.*)\\fP$', text, re.MULTILINE)


@test(lab=False)
def tools_that_the_documents_call_are_installed_with_the_lab(e2e):
    texts = "".join((REPOSITORY / page).read_text() for page in ("README.md", "vagrant/README.md"))
    called = set(re.findall(r"lab exec \w+ (\w+)", texts)) - {"catsbpf"}
    called |= {tool for _, _, command in examples() for tool in re.findall(r"\| (\w+)", command)}
    packages = re.search(r'^lab="(.*?)"', (REPOSITORY / "tests/install").read_text(), re.M | re.S).group(1).split()
    files = tool_output(["dpkg-query", "-L", *packages]).stdout.split()
    assert {"curl", "jq", "tcpdump"} <= called, called
    assert called <= {f.rsplit("/", 1)[1] for f in files if "bin/" in f}, (called, packages)


@test
def curl_examples_of_the_manual_work_as_they_stand(e2e):
    found = examples()
    assert len(found) > 10 and len(found) == PAGE.read_text().count("\\fB$ "), found
    with tempfile.TemporaryDirectory() as folder:
        # Each curl says its status on stderr, unless the example has a use for -w itself.
        (pathlib.Path(folder) / ".curlrc").write_text('write-out = "%{stderr}%{http_code}\\n"\n')
        for node in dict.fromkeys(node for node, _, _ in found):
            commands = [command for n, _, command in found if n == node]
            script = f"export CURL_HOME={folder}; cd {folder}\n" + "\n".join(commands)
            done = e2e.run(node, ["sh", "-ec", script])
            wanted = [status for n, status, _ in found if n == node and status != "-"]
            assert done.stderr.split() == wanted, f"{node}: {done.stderr.split()}, not {wanted}: {done.stdout}"
            assert "null" not in done.stdout, done.stdout


@test
def service_of_the_manual_is_taken_as_it_stands_and_steered(e2e):
    example = re.search(r"^\.nf\n(.*?)^\.fi$", SERVICE_PAGE.read_text(), re.M | re.S).group(1).replace("\\-", "-")
    token = (e2e.lab.files("platform") / "write-token").read_text().strip()
    command = ["catsbpf", "--token", token, "platform"]
    e2e.undo.append(lambda: e2e.run("platform", [*command, "remove", "GAME1"], check=False))
    stored = json.loads(e2e.run("platform", [*command, "put", "-", "--json"], input=example).stdout)
    assert stored["service_id"] == "GAME1" and stored["sla"]["max_session_s"] == 7200, stored
    e2e.eventually("the ingress has it, with all its locators", lambda: next(
        s for s in e2e.operator("f1").get("/v1/services")["services"] if s["service_id"] == "GAME1")["locators"] ==
        ["10.99.0.7 udp 5000-5099", "10.99.0.7 tcp 443", "fd00:99::7"])
    e2e.run("platform", [*command, "remove", "GAME1"])
