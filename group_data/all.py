"""The settings of the cluster; docs/settings.md explains all. After a change, run `pyinfra inventory.py deploy.py`."""

import os

# The cluster's name in kubeconfig files, and the token of its etcd. You cannot change it later.
cluster_name = "kubekeel"

# The version of Kubernetes' own components: any patch release of 1.37, 1.36 and 1.35. See docs/operations/upgrade.md.
kubernetes_version = "v1.37.2"

# Other versions of other components, such as today's security release: {"containerd": "v2.4.3"}.
versions = {}

# How many serving nodes a run changes at once when it restarts their kubelet or containerd: a number, or "20%".
upgrade_batch = 1

# When a run drains a node before it changes the version of its kubelet or containerd: "minor" (only for another minor
# version of Kubernetes), "always", or "never". The run ends if a drain takes longer than drain_timeout, in seconds.
drain = "minor"
drain_timeout = 300

# Where binaries and images come from: "upstream" (official downloads), "mirror" (your own copy of them, for
# networks without internet), "source" (built on this computer from pinned Go modules), or "auto" (upstream if it is
# reachable, otherwise source).
artifact_source = "auto"

# For "mirror": its folder, or its base URL.
artifact_mirror = None

# The network of pod addresses; each node gets a subnet of it, with the prefix length below. Neither pod_network nor
# service_network may contain an address of your hosts, or of anything else that pods must reach.
pod_network = "10.244.0.0/16"
node_subnet_length = 24

# The network of Service addresses: the first is the Kubernetes API's, the tenth the DNS server's.
service_network = "10.96.0.0/16"

# The domain of Services: <service>.<namespace>.svc.<cluster_domain>.
cluster_domain = "cluster.local"

# How packets get from node to node: "vxlan" (works everywhere), or "host-gw" (faster; all nodes on one LAN).
flannel_backend = "vxlan"

# How packets to a Service find a pod: "nftables" (kernel 5.13 or newer), or "iptables".
kube_proxy_mode = "nftables"

# Whether masters are nodes in `kubectl get nodes`. They have a taint, so only pods that tolerate it run there.
register_masters = True

# "headlamp", "kube-web-view" (every pod can read its pages), None, or "auto": headlamp if its image is available
# (with the sources upstream and mirror), otherwise none.
dashboard = "auto"

# More DNS names and addresses of the Kubernetes API, such as a load balancer's.
extra_api_names = ()

# The next run renews a certificate with fewer days left. Certificates are valid for a year.
renew_before_days = 30

# Whether the cluster signs client certificates that users request and administrators approve (CertificateSigningRequest
# with the signer kubernetes.io/kube-apiserver-client). Masters then hold the key of an authority for this purpose.
sign_client_certificates = False

# The folder of the cluster's keys, which the first run makes. Keep it secret and keep a backup: whoever has it
# controls the cluster. "" means the folder pki/ beside the inventory file; other relative paths start
# at that file's folder, too.
state_dir = os.environ.get("KUBEKEEL_STATE_DIR", "")

# SSH. The first contact saves a host's key, in the cluster's own file (not in yours). A host that shows another
# key later is refused. If you do not trust the first contact, put the keys into that file yourself, for example
# with `ssh-keyscan` over a network that you trust, and set "yes" here.
ssh_strict_host_key_checking = "accept-new"
ssh_known_hosts_file = os.path.join(state_dir or "pki", "known_hosts")
