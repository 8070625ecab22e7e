#!/bin/sh
# Fails, and prints why, if kube-network-policies does not get the packets of pods: check-network-policies QUEUE.
set -u
nft --terse list chain inet kube-network-policies postrouting 2>/dev/null | grep -q queue ||
  { echo "the rules that lead packets to network policies are missing"; exit 1; }
# If no program reads the queue, the kernel lets every packet through.
awk -v queue="$1" '$1 == queue { found = 1 } END { exit !found }' /proc/net/netfilter/nfnetlink_queue ||
  { echo "no program reads packets from queue $1"; exit 1; }
