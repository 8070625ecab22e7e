#!/bin/sh
# Fails, and says why, if the kernel sends no packets to services: check-kube-proxy MODE.
set -u
if [ "$1" = nftables ]; then
  # Without the elements of sets, which are as many as there are services.
  nft --terse list chain ip kube-proxy nat-prerouting 2>/dev/null | grep -q 'jump services'
else
  iptables -w 5 -t nat -S PREROUTING 2>/dev/null | grep -q -e '-j KUBE-SERVICES'
fi || { echo "the rules that lead to services are missing"; exit 1; }
