# SPDX-License-Identifier: Apache-2.0
"""Source ports that no flow of this lab had before. The kernel's own choice comes back to a port soon; a flow from
there has the 5-tuple of an earlier one, whose instance it rightly keeps, and so it is no new flow."""
import fcntl
import json

LOW, HIGH = 1024, 32767     # below the ports that the kernel gives away by itself


def fresh(lab, node, protocol, count=1):
    """A range of `count` ports of "tcp" or "udp", for IPv4 and IPv6, which share a node's ports. The lab's files remember
    what was taken, over several programs and as long as the lab is up; after HIGH it begins anew."""
    key = f"{node} {protocol}"
    with open(lab.run / "source-ports", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        taken = json.loads(file.read() or "{}")
        first = taken.get(key, LOW)
        if first + count - 1 > HIGH:
            first = LOW
        taken[key] = first + count
        file.truncate(0)
        file.write(json.dumps(taken))
    return range(first, first + count)
