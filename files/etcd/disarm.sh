# Clears the alarms of members that have left, unless a present member is corrupt.
: "${etcdctl?}"

listed=$($etcdctl member list -w json) && raised=$($etcdctl alarm list) || exit 1
# alarm list has decimal numbers, as JSON does, and member list hexadecimal ones.
present=$(echo "$listed" | grep -o '"ID":[0-9]*' | sed 's/"ID":\(.*\)/memberID:\1 /')
[ -n "$raised" ] && echo "$raised" | grep -vqF "$present" || exit 0
! echo "$raised" | grep -F "$present" | grep -q CORRUPT || exit 0
$etcdctl alarm disarm
