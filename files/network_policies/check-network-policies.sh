#!/bin/sh
# Fails, and says why, if packets of pods are not led to what judges them: check-network-policies QUEUE.
set -u
nft --terse list chain inet kube-network-policies postrouting 2>/dev/null | grep -q queue ||
  { echo "the rules that lead packets to network policies are missing"; exit 1; }
# Without anybody at the queue the kernel lets everything through.
awk -v queue="$1" '$1 == queue { found = 1 } END { exit !found }' /proc/net/netfilter/nfnetlink_queue ||
  { echo "nobody takes packets from queue $1"; exit 1; }
