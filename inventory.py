"""The hosts of the cluster: enter the names and addresses of yours, then put each host into its groups."""

_addresses = {
    "master": "192.168.1.165",
    "minion1": "192.168.1.166",
    "minion2": "192.168.1.167",
}

# The other hosts reach a host at `address`; you reach it at `ssh_hostname`. A host can also have `arch` ("amd64" or
# "arm64"), `labels` (a dict), and keys that pyinfra needs to connect (`ssh_port`, `ssh_key`, ...): docs/settings.md.
_hosts = {
    name: (name, {"address": address, "ssh_hostname": address, "ssh_user": "root"})
    for name, address in _addresses.items()
}

# etcd, which stores the cluster's state: one, three or five hosts.
etcd = [_hosts["master"], _hosts["minion1"], _hosts["minion2"]]

# The control plane: one host or more.
masters = [_hosts["master"]]

# The hosts that run your pods.
minions = [_hosts["minion1"], _hosts["minion2"]]
