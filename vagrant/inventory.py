"""The machines of the Vagrantfile beside this file."""

_addresses = {
    "master": "192.168.56.10",
    "minion1": "192.168.56.11",
    "minion2": "192.168.56.12",
}

_hosts = {
    name: (name, {"address": address, "ssh_hostname": address, "ssh_user": "root"})
    for name, address in _addresses.items()
}

etcd = [_hosts["master"], _hosts["minion1"], _hosts["minion2"]]
masters = [_hosts["master"]]
minions = [_hosts["minion1"], _hosts["minion2"]]
