#!/usr/bin/env bash
# shellcheck disable=SC2154 # sourced by deploy-docker.sh, whose variables these are
# How the containers are: waited for after a change, shown in a table, explained when it is bad.

readonly HEALTHY_WITHIN=${HEALTHY_WITHIN:-90} # seconds

container() {
  docker ps -aq --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$1" \
    --filter label=com.docker.compose.oneoff=False | head -n 1
}

# One word: healthy, starting, unhealthy, waiting (for its grant), or how it ended.
state_of() {
  local id state reasons
  id=$(container "$1")
  [ -n "$id" ] || { echo absent && return; }
  state=$(docker inspect -f '{{if eq .State.Status "running"}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id")
  case $state:$1 in
    healthy:*) ;;
    *:node-*)
      reasons=$(reasons "$1")
      [[ $reasons != *'"self.no-token"'* && $reasons != *'"self.key-mismatch"'* ]] || state=waiting
      ;;
    # It shows what node-b's tunnel leads to.
    *:web) [ "$(state_of node-b)" != waiting ] || state=waiting ;;
  esac
  echo "$state"
}

# What /ready of a node says, without a published port.
reasons() {
  docker exec "$(container "$1")" healthcheck 2>/dev/null || true
}

all_healthy() {
  local service
  for service in "${nodes[@]}" "${rest[@]}" ${devnet:+devnet}; do
    [ "$(state_of "$service")" = healthy ] || return 1
  done
}

# How far those who catch up with the chain have read it. The head is no part of that: it moves by itself.
progress() {
  local service block
  for service in "$@"; do
    [[ $service == node-* ]] || continue
    block=$(reasons "$service" | grep -oE 'read up to block [0-9]+') || continue
    echo "  $service has $block"
  done
}

# healthy <service>...: false after HEALTHY_WITHIN seconds in which nobody came further, or when one has ended.
healthy() {
  local deadline=$((SECONDS + HEALTHY_WITHIN)) service state left=("$@") next before='' now told=$SECONDS
  while [ ${#left[@]} -gt 0 ]; do
    next=()
    for service in "${left[@]}"; do
      state=$(state_of "$service")
      case $state in
        healthy) say "  $service is healthy" ;;
        # On a real network nobody here can grant it: it runs, and says what it waits for.
        waiting) if [ -n "$devnet${patient:-}" ]; then next+=("$service"); else say "  $service waits for a grant"; fi ;;
        exited | dead | absent | restarting)
          say "  $service has ended ($state)"
          return 1
          ;;
        *) next+=("$service") ;;
      esac
    done
    left=("${next[@]}")
    if [ ${#left[@]} -gt 0 ]; then
      now=$(progress "${left[@]}")
      [ "$now" = "$before" ] || before=$now deadline=$((SECONDS + HEALTHY_WITHIN))
      [ -z "$now" ] || [ $((SECONDS - told)) -lt 30 ] || { say "$now" && told=$SECONDS; }
      [ $SECONDS -lt $deadline ] || { say "  not healthy after $HEALTHY_WITHIN s: ${left[*]}" && return 1; }
      sleep 0.5
    fi
  done
}

# The last lines of what is not healthy. The agent's log holds no secret.
show_why() {
  local service
  for service in "${nodes[@]}" "${rest[@]}" ${devnet:+devnet}; do
    case $(state_of "$service") in
      healthy | absent) ;;
      *)
        say "--- $service: $(reasons "$service")"
        docker logs --tail 15 "$(container "$service")" 2>&1 | cut -c 1-400
        ;;
    esac
  done
}

# Not 0 when something is unhealthy, or waits.
table() {
  local service state bad=0 i=0 bind
  bind=$(remembered HTTP_BIND)
  bind=${bind:-127.0.0.1}
  printf '%-14s %-10s %s\n' SERVICE STATE WHERE
  for service in "${nodes[@]}"; do
    state=$(state_of "$service")
    [ "$state" = healthy ] || bad=1
    printf '%-14s %-10s %s\n' "$service" "$state" "udp $(wireguard_port $i), http://$bind:$(http_port $i)/health"
    i=$((i + 1))
  done
  for service in "${rest[@]}" ${devnet:+devnet}; do
    state=$(state_of "$service")
    [ "$state" = healthy ] || bad=1
    printf '%-14s %-10s %s\n' "$service" "$state" "$(where "$service" "$bind")"
  done
  grants_awaited
  return $bad
}

where() {
  case $1 in
    monitoring) echo "http://$2:8082" ;;
    mullvad-proxy) echo "tcp $(port_of PROXY_PORT 5001), for udp2tcp" ;;
    prometheus) echo "http://$2:9090" ;;
    grafana) echo "http://$2:3000" ;;
    web) echo "http://$(overlay_address node-b)/ through the tunnel only" ;;
    devnet) echo "http://127.0.0.1:$(port_of DEVNET_PORT 8545)" ;;
  esac
}

overlay_address() {
  local address
  address=$(docker exec "$(container "$1")" healthcheck /wireguard 2>/dev/null | sed -nE 's/.*"addresses":\["([0-9.]+).*/\1/p') || true
  echo "${address:-<its address>}"
}

# The command that would grant each node that waits, as the agent says it.
grants_awaited() {
  local node detail
  for node in "${nodes[@]}"; do
    detail=$(reasons "$node" | grep -oE '"detail":"[^"]*dstack-vpn (grant|set-key)[^"]*"' | cut -d '"' -f 4) || true
    [ -z "$detail" ] || printf '\n%s: %s\n' "$node" "$detail"
  done
}
