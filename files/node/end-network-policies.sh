# Ends what enforces network policies and takes its rules away. Has undo.sh before it.
systemctl stop kube-network-policies 2>/dev/null
remove_rules 'kube-network-policies' 'KUBE-NETWORK-POLICIES-'
