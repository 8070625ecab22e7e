"""What a cluster leaves on a host."""

from __future__ import annotations

from tests.virtual import Machine

LISTING = r"""
echo files
find /etc /opt /usr/local /usr/libexec /var/lib /root /run -xdev \
  \( -path /run/systemd -o -path /run/log -o -path /run/udev -o -path /run/credentials -o -path /var/lib/apt \) -prune \
  -o -printf '%y %m %u:%g %p %l\n' | sort
echo ports; ss -Hltn | awk '{print $4}' | sort
echo rules; nft list ruleset
echo links; ip -o link | awk '{print $2}' | sort; ip route
echo mounts; awk '{print $5}' /proc/self/mountinfo | sort
echo units; systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}' | sort
echo failed; systemctl --failed --no-legend
echo users; getent passwd; getent group
echo processes; readlink /proc/[0-9]*/exe | sort | uniq -c
"""
"""A script that lists everything that a cluster could leave on a host."""

# Paths that package installations and boots write; the package netbase makes /etc/networks.
RECORDS = ("/var/lib/dpkg/", "/var/lib/systemd/", "/etc/alternatives/", " /etc/networks ")


def left_over(machine: Machine, before: str, node: str = "master") -> list[str]:
    """Return the lines of a machine's listing that `before` lacks, without files of packages."""
    of_packages = {path.removeprefix("/usr") for path in machine.on("cat /var/lib/dpkg/info/*.list", node).splitlines()}

    def is_of_a_package(line: str) -> bool:
        words = {word.removeprefix("/usr") for word in line.split()}
        units = {f"/lib/systemd/system/{word}" for word in words}
        return any(record in line for record in RECORDS) or not {*of_packages}.isdisjoint(words | units)

    return [
        line
        for line in machine.on(LISTING, node).splitlines()
        if line not in before.splitlines() and not is_of_a_package(line)
    ]
