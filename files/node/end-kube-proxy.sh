# Stops kube-proxy and removes its rules. Needs the functions of undo.sh.
systemctl stop kube-proxy 2>/dev/null
remove_rules 'kube-proxy' 'KUBE-'
