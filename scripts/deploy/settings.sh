#!/usr/bin/env bash
# shellcheck disable=SC2154,SC2034 # sourced by deploy-docker.sh, whose variables these are
# Settings and secrets: where they come from, and how they are put down for compose.

# A setting of the environment, else of .env, whose lines are read and never run.
setting() {
  local value=${!1:-}
  if [ -z "$value" ] && [ -f .env ]; then
    value=$(sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1=[[:space:]]*//p" .env | tail -n 1 |
      sed -E "s/^'([^']*)'.*/\1/; t; s/^\"([^\"]*)\".*/\1/; t; s/([[:space:]]+#.*|[[:space:]]+)$//")
  fi
  printf %s "$value"
}

# remembered <setting> [deployment]: what it was told.
remembered() {
  sed -n "s/^$1=//p" "$STATE/${2:-current}/env" 2>/dev/null || true
}

# What this command is about: its flags, and where it has none, the deployment that there is.
settle() {
  case $verb in
    deploy | setup | build) ;;
    *)
      devnet=${devnet:-$(remembered DEPLOYED_DEVNET)}
      observability=${observability:-$(remembered DEPLOYED_OBSERVABILITY)}
      node_count=${node_count:-$(remembered DEPLOYED_NODES)}
      ;;
  esac
  list_services "${node_count:-2}"
}

# as_in <deployment>: with its nodes and its RPC URL; an admin token that was replaced since stays replaced.
as_in() {
  [ ! -s "$STATE/$1/rpc_url" ] || secret rpc_url "$(cat "$STATE/$1/rpc_url")"
  sed -i "s/^SECRETS_SUM=.*/SECRETS_SUM=$(secrets_sum)/" "$STATE/$1/env"
  devnet=$(remembered DEPLOYED_DEVNET "$1") observability=$(remembered DEPLOYED_OBSERVABILITY "$1")
  list_services "$(remembered DEPLOYED_NODES "$1")"
}

list_services() {
  local i
  node_count=$1 nodes=() rest=(mullvad-proxy monitoring)
  for ((i = 0; i < node_count; i++)); do nodes+=("node-${LETTERS:i:1}"); done
  [ "$node_count" = 1 ] || rest+=(web)
  [ -z "$observability" ] || rest+=(prometheus grafana)
}

wireguard_port() { echo $((51820 + $1)); }
http_port() { echo $((8080 + $1 + ($1 > 1))); } # 8082 is the dashboard's

rpc_url() {
  if [ -n "$devnet" ]; then echo http://devnet:8545; else secret_setting RPC_URL; fi
}

# secret_setting <setting>: from the file that its _FILE twin names, else as it is set.
secret_setting() {
  local file
  file=$(setting "$1_FILE")
  if [ -n "$file" ]; then cat "$file"; else setting "$1"; fi
}

# secret <name> <value>: a value that is given is written where it differs; one that is not is made once and kept.
secret() {
  local file=$SECRETS/$1 value=$2
  if [ -z "$value" ]; then
    [ ! -s "$file" ] || return 0
    value=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
  fi
  [ "$(cat "$file" 2>/dev/null)" != "$value" ] || return 0
  say "writing .secrets/$1"
  [ -z "$dry_run" ] || return 0
  (umask 077 && printf '%s\n' "$value" >"$file.new")
  # The containers' user reads it. Who is not root cannot give it away, and relies on the closed directory instead.
  chown "$AGENT_UID" "$file.new" 2>/dev/null || chmod 0644 "$file.new"
  mv "$file.new" "$file"
}

secrets_sum() { cat "$SECRETS/rpc_url" "$SECRETS/admin_token" | sha256sum | cut -c 1-16; }

# Every setting that docker-compose.yml reads; no secret is among them.
compose_settings() {
  grep -oE '\$\{[A-Z0-9_]+' docker-compose.yml | cut -c 3- | sort -u
}

# Whether what is to be deployed is what was.
is_deployed() {
  diff -r "$STATE/next" "$STATE/current" >/dev/null 2>&1
}

# The compose files and their environment, as they will be deployed: settings of .env, and what was decided here.
describe_deployment() {
  local to=$STATE/next i name value
  [ -z "$dry_run" ] || return 0
  rm -rf "$to"
  mkdir -m 0700 "$to"
  # A host without IPv6 has no such settings, and no container there could have them.
  if [ -d /proc/sys/net/ipv6 ]; then cp docker-compose.yml "$to/"; else sed '/^ *net\.ipv6\./d' docker-compose.yml >"$to/docker-compose.yml"; fi
  [ "$node_count" -le 2 ] || more_nodes >"$to/nodes.yml"
  local dashboard=() grants=()
  for ((i = 0; i < node_count; i++)); do
    dashboard+=("${nodes[i]}=${nodes[i]}:8080")
    grants+=("${nodes[i]}:$(wireguard_port "$i"):$([ "$i" = 0 ] && echo gateway || echo node)")
  done
  {
    for name in $(compose_settings); do
      value=$(setting "$name")
      # The local chain is another one than .env speaks of.
      case $devnet$name in 1NETWORK) value=devnet ;; 1CHAIN_ID | 1CONTRACT_ADDRESS | 1START_BLOCK) value='' ;; esac
      [ -z "$value" ] || echo "$name=$value"
    done
    echo "DEPLOYED_DEVNET=$devnet"
    echo "DEPLOYED_OBSERVABILITY=$observability"
    echo "DEPLOYED_NODES=$node_count"
    echo "SECRETS_DIR=$SECRETS"
    echo "TARGETS_DIR=$STATE/targets"
    # A new URL or token starts the nodes anew: the files themselves are not part of what compose compares.
    echo "SECRETS_SUM=$(secrets_sum)"
    echo "DASHBOARD_NODES=$(IFS=, && echo "${dashboard[*]}")"
    echo "DEVNET_NODES=$(IFS=, && echo "${grants[*]}")"
    image_settings
  } >"$to/env"
  # Whoever goes back to this deployment needs it too.
  cp -p "$SECRETS/rpc_url" "$to/"
}

# Whom Prometheus asks, in a directory that outlasts deployments.
write_targets() {
  local file=$STATE/targets/nodes.yml
  (umask 022 && mkdir -p "$STATE/targets" && printf -- '- targets: ["%s:8080"]\n' "${nodes[@]}" >"$file.new")
  mv "$file.new" "$file"
}

# node-c and those behind it, in the terms of docker-compose.yml: its shared parts, repeated here by sed.
more_nodes() {
  local i node
  sed -n '/^x-/,/^services:/p' "$STATE/next/docker-compose.yml"
  for ((i = 2; i < node_count; i++)); do
    node=${nodes[i]}
    cat <<YAML
  $node:
    <<: *node
    hostname: $node
    environment: { <<: *settings, NODE_ID: $node, LISTEN_PORT: $(wireguard_port "$i"), ALLOWED_HOSTS: "$node,\${ALLOWED_HOSTS:-}" }
    volumes: ["$node-state:/var/lib/dstack-vpn", "$node-config:/etc/wireguard"]
    ports: ["$(wireguard_port "$i"):$(wireguard_port "$i")/udp", "\${HTTP_BIND:-127.0.0.1}:$(http_port "$i"):8080"]
YAML
  done
  echo volumes:
  for ((i = 2; i < node_count; i++)); do printf '  %s-state:\n  %s-config:\n' "${nodes[i]}" "${nodes[i]}"; done
}
