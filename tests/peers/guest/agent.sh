# Agent of the test guest: takes commands on the virtio-serial port "agent".
# in:  "<id> <seconds> <base64 of a shell script>\n"      out: "<id> <exit code> <bytes>\n" and then that many bytes
# Once at start: "READY 0 0\n".
echo 3 > /proc/sys/kernel/printk
ip link set lo up
port=
while [ -z "$port" ]; do
  for entry in /sys/class/virtio-ports/*; do
    [ "$(cat "$entry/name" 2>/dev/null)" = agent ] && port=/dev/${entry##*/}
  done
  [ -n "$port" ] || sleep 0.1
done
exec 3<>"$port"
echo "READY 0 0" >&3
while :; do
  if read -r id seconds script <&3; then
    [ -n "$script" ] || continue
    echo "$script" | base64 -d > /run/command
    timeout -k 5 "$seconds" "${AGENT_SHELL:-sh}" /run/command > /run/output 2>&1 < /dev/null
    code=$?
    echo "$id $code $(stat -c %s /run/output)" >&3
    cat /run/output >&3
  else
    sleep 0.2
  fi
done
