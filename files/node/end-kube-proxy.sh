# Ends kube-proxy and takes its rules away. Has undo.sh before it.
systemctl stop kube-proxy 2>/dev/null
remove_rules 'kube-proxy' 'KUBE-'
