"""kubectl on a master, as an administrator of the cluster."""

KUBECTL = "/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf"
