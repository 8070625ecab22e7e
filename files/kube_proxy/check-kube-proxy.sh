#!/bin/sh
# Fails, and prints why, if the kernel sends no packets to services: check-kube-proxy MODE.
set -u
if [ "$1" = nftables ]; then
  # --terse leaves out the elements of sets: every service adds some.
  nft --terse list chain ip kube-proxy nat-prerouting 2>/dev/null | grep -q 'jump services'
else
  iptables -w 5 -t nat -S PREROUTING 2>/dev/null | grep -q -e '-j KUBE-SERVICES'
fi || { echo "the rules that lead to services are missing"; exit 1; }
