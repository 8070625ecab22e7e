# Corrects the modes and owners of links' targets, since tar does not: folders.sh MODE OWNER PATH, for each folder
# A link to anything but a folder is refused.
while [ $# -gt 0 ]; do
  if [ -L "$3" ]; then
    [ -d "$3" ] || {
      echo "$3: is a link that does not lead to a folder ($(readlink "$3")); mount that, or remove the link, then deploy again"
      exit 1
    }
    chmod "$1" "$3"
    chown "$2" "$3"
  fi
  shift 3
done
