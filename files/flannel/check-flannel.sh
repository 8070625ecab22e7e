#!/bin/sh
# Prints the faults of flannel's network on this node, one per line, and fails if there are any:
# check-flannel BACKEND RULES POD_NETWORK ADDRESS HARDWARE_ADDRESS [ENDPOINTS].
# With etcd's ENDPOINTS it also compares the kernel with the leases of all nodes, if etcd answers.
set -u
PATH=$PATH:/opt/kubekeel/bin
backend=$1 rules=$2 pod_network=$3 address=$4 hardware_address=$5 endpoints=${6-}

leases() {
  [ -z "$endpoints" ] || etcdctl --endpoints="$endpoints" --dial-timeout=3s --command-timeout=5s \
    --cacert=/etc/flannel/pki/etcd-ca.crt --cert=/etc/flannel/pki/etcd-client.crt \
    --key=/etc/flannel/pki/etcd-client.key get --prefix /coreos.com/network/subnets/ |
    sed -n 's|^.*/subnets/\([0-9.]*\)-\([0-9]*\)$|\1/\2|p
      s/^{"PublicIP":"\([0-9.]*\)".*"BackendType":"\([^"]*\)".*/\1 \2 &/p' |
    sed 's/{.*"VtepMAC":"\([^"]*\)".*/\1/; s/{.*//' | paste -d ' ' - -
}

masquerades() {
  if [ "$rules" = nftables ]; then
    nft list chain ip flannel-ipv4 postrtg | grep masquerade
  else
    iptables -w 5 -t nat -S POSTROUTING | grep FLANNEL-POSTRTG
  fi
}

{
  tr '=' ' ' </run/flannel/subnet.env
  masquerades | sed 's/.*/masquerades/'
  ip -o link show dev flannel.1 | sed 's/^/link /'
  ip -o -4 address show dev flannel.1 | sed 's/^/address /'
  ip -4 route show | sed 's/^/route /'
  ip -4 neigh show dev flannel.1 nud permanent | sed 's/^/neighbour /'
  bridge fdb show dev flannel.1 | sed 's/^/fdb /'
  ip -o link show type veth | sed 's/^/veth /'
  leases | sed 's/^/lease /'
} 2>/dev/null | awk -v backend="$backend" -v pod_network="$pod_network" \
  -v address="$address" -v hardware_address="$hardware_address" '
  function after(word,  i) { for (i = 2; i < NF; i++) if ($i == word) return $(i + 1) }
  # Returns the hardware address that make-flannel-device gives to the node with this address.
  function hardware_of(ip,  part) {
    split(ip, part, ".")
    return sprintf("0a:58:%02x:%02x:%02x:%02x", part[1], part[2], part[3], part[4])
  }
  function lacks(what) { print what; faults++ }
  # Whether packets to a subnet go to its node: by its hardware address with vxlan, and directly with host-gw.
  function leads(subnet, node, hardware,  gateway) {
    gateway = via[subnet]
    if (backend != "vxlan") return gateway == node
    return device[subnet] == "flannel.1" && neighbour[gateway] == hardware && at[hardware] == node
  }
  $1 == "FLANNEL_NETWORK" { network = $2 }
  $1 == "FLANNEL_SUBNET" { split($2, own, "[./]") }
  $1 == "masquerades" { masquerades = 1 }
  $1 == "link" { up = $4 ~ /[<,]UP[,>]/; hardware = after("link/ether") }
  $1 == "address" { addresses[after("inet")] }
  $1 == "route" { via[$2] = after("via"); device[$2] = after("dev") }
  $1 == "neighbour" { neighbour[$2] = after("lladdr") }
  $1 == "fdb" && after("dst") { at[$2] = after("dst") }
  $1 == "veth" && / link-netns cni-/ && !/ master / { alone++ }
  $1 == "lease" { answered = 1; node[$2] = $3; type[$2] = $4; lease_hardware[$2] = $5 }
  END {
    served = network ? "the network " network : "no network"
    if (network != pod_network) lacks("flanneld serves " served ", not " pod_network)
    if (!masquerades) lacks("the rules that masquerade what pods send are missing")
    if (backend == "vxlan") {
      if (!hardware) lacks("the device flannel.1 is missing")
      else if (!up) lacks("the device flannel.1 is down")
      else if (hardware != hardware_address) lacks("flannel.1 has the hardware address " hardware ", not " hardware_address)
      else if (!((own[1] "." own[2] "." own[3] "." own[4] - 1 "/32") in addresses)) lacks("flannel.1 has no address of its own")
      for (subnet in device) if (device[subnet] == "flannel.1") {
        gateway = via[subnet]
        if ((gateway in neighbour) && (neighbour[gateway] in at)) led[at[neighbour[gateway]]]
        else lacks("packets to " subnet " have a route, but no node")
      }
      for (hardware in at) if (!(at[hardware] in led)) lacks("no route leads to " at[hardware])
    }
    if (alone) lacks("devices of pods without a bridge: " alone)
    for (subnet in node) {
      if (node[subnet] == address) {
        leased = type[subnet] == backend && (backend != "vxlan" || lease_hardware[subnet] == hardware_address)
      } else if (type[subnet] == backend && !leads(subnet, node[subnet], lease_hardware[subnet])) {
        lacks("packets to " subnet " do not go to " node[subnet])
      }
      # A node writes its own lease, and could write a wrong hardware address there.
      if (type[subnet] == "vxlan" && node[subnet] != address && lease_hardware[subnet] != hardware_of(node[subnet])) {
        lacks("the lease of " subnet " says that " node[subnet] " has the hardware address " lease_hardware[subnet])
      }
    }
    if (answered && !leased) lacks("flanneld has no lease for " backend " on " address)
    exit faults > 0
  }'
