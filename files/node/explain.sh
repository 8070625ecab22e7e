# Prints the state of $unit, and the newest lines of its journal. It waited $waited seconds for it.
# A unit that systemd restarts in a loop logs its error at the end of each try, not at the beginning.
: "${unit?}" "${waited?}"
systemctl show -p ActiveState,SubState,Result,ExecMainStatus,NRestarts "$unit.service" | tr '\n' ' '
echo
failed=$(journalctl -u "$unit.service" --since "-${waited}s" --no-pager -q -o cat | awk '
  /: Scheduled restart job, / { whole = try; try = ""; next }
  { try = try $0 "\n" }
  END { printf "%s", whole }')
[ -z "$failed" ] || { echo "Its last try that ended:" && printf '%s\n' "$failed" | tail -n 30; }
echo "Its newest lines:"
journalctl -u "$unit.service" -n 12 --no-pager -q -o cat
