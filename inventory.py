"""The machines of the cluster: give yours their names and addresses, then put each into its groups."""

_addresses = {
    "master": "192.168.1.165",
    "minion1": "192.168.1.166",
    "minion2": "192.168.1.167",
}

# `address` is where the other hosts reach a host, `ssh_hostname` where you do. A host may also have
# `arch` ("amd64" or "arm64"), `labels` (a dict) and whatever else pyinfra needs to connect (`ssh_port`,
# `ssh_key`, ...).
_hosts = {
    name: (name, {"address": address, "ssh_hostname": address, "ssh_user": "root"})
    for name, address in _addresses.items()
}

# The store of the cluster's state: one, three or five hosts.
etcd = [_hosts["master"], _hosts["minion1"], _hosts["minion2"]]

# The control plane: one host or more.
masters = [_hosts["master"]]

# The hosts that run the work.
minions = [_hosts["minion1"], _hosts["minion2"]]
