"""Every choice about the cluster. Edit it, then run `pyinfra inventory.py deploy.py` again."""

import os

# The cluster's name in kubeconfig files and the token its etcd members know each other by.
cluster_name = "kubekeel"

# Any patch release of 1.37, 1.36 and 1.35: docs/operations/upgrade.md. The versions of all else go with it.
kubernetes_version = "v1.37.2"

# Other versions of components, such as a security release of today: {"containerd": "v2.4.3"}.
versions = {}

# How many nodes that serve are changed at once, where their kubelet or containerd restarts: a number, or "20%".
upgrade_batch = 1

# Whether a node's pods go elsewhere before its kubelet or containerd becomes another version: "minor" (where it is
# another minor version of Kubernetes), "always", or "never". After so many seconds without success the run ends.
drain = "minor"
drain_timeout = 300

# Where binaries and images come from: "upstream" (official downloads), "mirror" (your own copy of them, for
# networks without internet), "source" (built here from pinned Go modules), or "auto" (upstream where it can
# be reached, else source).
artifact_source = "auto"

# For "mirror": its folder, or its base URL.
artifact_mirror = None

# Pods get their addresses from this network, each node a subnet of the length below. Neither it nor the
# service network may hold an address of your hosts or of anything else that pods are to reach.
pod_network = "10.244.0.0/16"
node_subnet_length = 24

# Services get theirs from this one: the first is the Kubernetes API's, the tenth the DNS server's.
service_network = "10.96.0.0/16"

# Services are called <service>.<namespace>.svc.<cluster_domain>.
cluster_domain = "cluster.local"

# How packets get from node to node: "vxlan" (works everywhere), or "host-gw" (faster; all nodes on one LAN).
flannel_backend = "vxlan"

# How packets to a service find a pod: "nftables" (kernel 5.13 or newer), or "iptables".
kube_proxy_mode = "nftables"

# Whether masters show up in `kubectl get nodes`. They are tainted, so only what tolerates that runs there.
register_masters = True

# "headlamp", "kube-web-view" (which shows itself to every pod), None, or "auto": headlamp where its image can be had
# (sources upstream and mirror), else none.
dashboard = "auto"

# Further DNS names and addresses at which the Kubernetes API is reached, such as a load balancer's.
extra_api_names = ()

# A certificate with fewer days left is renewed by the next run. Certificates live a year.
renew_before_days = 30

# Whether the cluster signs clients' certificates that were asked for in it and approved (CertificateSigningRequest
# with the signer kubernetes.io/kube-apiserver-client). Masters then hold the key of an authority for just that.
sign_client_certificates = False

# The folder of the cluster's keys, made at the first run. Keep it secret and keep a backup: who has it
# owns the cluster. "" is the folder pki/ beside the inventory file; other relative paths start
# at that file's folder, too.
state_dir = os.environ.get("KUBEKEEL_STATE_DIR", "")

# SSH. A host's key is written down at the first contact (in the cluster's own file, not in yours); a host
# that shows another key later is refused. To trust no first contact either, put the keys into that file
# yourself, say by `ssh-keyscan` over a network you trust, and write "yes" here.
ssh_strict_host_key_checking = "accept-new"
ssh_known_hosts_file = os.path.join(state_dir or "pki", "known_hosts")
