#!/usr/bin/env bash
# deploy-docker.sh <verb> [option...]: the system in containers on this machine.
#
#   deploy    checks, builds, starts and waits until everything is healthy; safe to repeat. A node whose new image does
#             not become healthy gets the old one back, and the nodes behind it are not touched. What its flags name
#             no longer is removed (a node, the chain, Prometheus and Grafana); volumes stay.
#   setup     writes .secrets/ from the settings; an admin token that none names is made once and kept
#   build     builds the images; without an image registry it makes their bases locally, and says so
#   start | stop | restart | logs [service...]
#   run <service> <command>...   once, beside the service, with its settings and volumes: run node-a dstack-vpn list
#   status    a table of what runs; not 0 when something is unhealthy
#   rollback  the deployment before the present one: its images and its settings; of the secrets its RPC URL alone
#   cleanup   removes containers, keys, state and images; asks first
#
#   --devnet         with a local chain that has the contract, and a grant for each node
#   --nodes N        1 to 8 nodes, node-a to node-h (default 2)
#   --observability  with Prometheus (9090) and Grafana (3000), which ask the nodes that there are
#   --yes            asks nothing
#   --dry-run        prints what it would do, and does nothing
#
# Settings come from the environment and from .env (see env.example); besides those there are HTTP_BIND (127.0.0.1),
# DASHBOARD_HOSTS, NODE_MEMORY (1g), DEVNET_PORT (8545), DEPLOY_DIR (here; for .secrets and .deploy), HEALTHY_WITHIN (90 s,
# anew with each block that a node comes further) and NODE_OWNER: with it and CONTRACT_PRIVATE_KEY, deploy grants the nodes
# their tokens, and says how they become nodes that others dial; otherwise it writes to no chain.
# Exit: 0 done, 1 something failed or is unhealthy, 64 wrong usage, 69 this machine lacks something.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin"
readonly SELF=$PWD/scripts/deploy-docker.sh

readonly AGENT_UID=51820 # of docker/*/Dockerfile
readonly PROJECT=${COMPOSE_PROJECT_NAME:-dstack-vpn} LETTERS=abcdefgh
# .deploy/ is what was deployed: current/ and previous/, each with its compose files, their environment and
# its RPC URL; and targets/, whom Prometheus asks.
readonly STATE=${DEPLOY_DIR:-$PWD}/.deploy SECRETS=${DEPLOY_DIR:-$PWD}/.secrets

say() { printf '%s\n' "$@"; }
stop() {
  printf 'deploy-docker: %s\n' "$@" >&2
  exit 1
}
help() { sed -n '2,/^set /{s/^# \{0,1\}//p}' "$SELF"; }
usage() {
  help >&2
  exit 64
}
# Whatever changes anything goes through here.
act() {
  if [ -n "$dry_run" ]; then say "would: $*"; else "$@"; fi
}
act_quietly() {
  if [ -n "$dry_run" ]; then act "$@"; else "$@" >/dev/null; fi
}

# shellcheck source=scripts/deploy/settings.sh
. scripts/deploy/settings.sh
# shellcheck source=scripts/deploy/preflight.sh
. scripts/deploy/preflight.sh
# shellcheck source=scripts/deploy/images.sh
. scripts/deploy/images.sh
# shellcheck source=scripts/deploy/health.sh
. scripts/deploy/health.sh
# shellcheck source=scripts/deploy/grants.sh
. scripts/deploy/grants.sh

main() {
  verb='' devnet='' observability='' node_count='' yes='' dry_run='' services=()
  while [ $# -gt 0 ]; do
    case $1 in
      --devnet) devnet=1 ;;
      --observability) observability=1 ;;
      --nodes)
        [[ ${2:-} =~ ^[1-8]$ ]] || usage
        node_count=$2
        shift
        ;;
      --yes) yes=1 ;;
      --dry-run) dry_run=1 ;;
      -h | --help) help && exit ;;
      -*) usage ;;
      run)
        verb=run services=("${@:2}") # the command's own options are among them
        break
        ;;
      *) if [ -z "$verb" ]; then verb=$1; else services+=("$1"); fi ;;
    esac
    shift
  done
  case $verb in
    deploy | setup | build | status | rollback | cleanup) [ ${#services[@]} = 0 ] || usage ;;
    start | stop | restart | logs) ;;
    run) [ ${#services[@]} -ge 2 ] || usage ;;
    *) usage ;;
  esac
  if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
  settle
  preflight
  [[ $verb =~ ^(status|logs|run)$ || -n $dry_run ]] || lock
  "verb_$verb"
}

# in_deployment <current|next|previous> <argument of compose>...
in_deployment() {
  local of=$STATE/$1
  shift
  local files=$of/docker-compose.yml
  [ ! -f "$of/nodes.yml" ] || files+=:$of/nodes.yml
  # What the shell exports would win over what was decided at the deployment.
  local unset=() name
  for name in $(compose_settings); do unset+=(-u "$name"); done
  env "${unset[@]}" "COMPOSE_FILE=$files" "COMPOSE_PROFILES=$(sed -nE 's/^DEPLOYED_(DEVNET|OBSERVABILITY)=1$/\L\1/p' "$of/env" | paste -sd ,)" \
    "${compose[@]}" --project-directory "$PWD" -p "$PROJECT" --env-file "$of/env" "$@"
}

lock() {
  (umask 077 && mkdir -p "$STATE")
  echo '*' >"$STATE/.gitignore"
  exec 9>"$STATE/lock"
  flock -n 9 || stop "another deploy-docker.sh is at work here"
}

# --- verbs --------------------------------------------------------------------------------------

verb_setup() {
  [ -d "$SECRETS" ] || act mkdir -m 0700 "$SECRETS"
  secret admin_token "$(secret_setting ADMIN_TOKEN)"
  secret rpc_url "$(rpc_url)"
}

verb_build() { build_images; }

verb_deploy() {
  local started=$SECONDS
  [ ! -f "$STATE/current/env" ] || [ "$(remembered DEPLOYED_DEVNET)" = "$devnet" ] || stop \
    "what is deployed here is $([ -z "$devnet" ] && echo a || echo no) devnet, and follows another chain: cleanup first, which removes its keys and state," \
    "or deploy beside it, with a DEPLOY_DIR and a COMPOSE_PROJECT_NAME of its own"
  build_images
  verb_setup
  describe_deployment
  if [ -n "$dry_run" ]; then
    say "would: start ${nodes[*]} ${devnet:+devnet }${rest[*]} and wait until they are healthy"
    return
  fi
  [ ! -f "$STATE/current/env" ] || free_web
  if is_deployed && all_healthy; then
    rm -rf "$STATE/next"
    say "nothing has changed"
    table
    return
  fi
  if ! bring_up next; then
    say "the new deployment did not become healthy:"
    show_why next
    if [ ! -f "$STATE/current/env" ]; then
      mv "$STATE/next" "$STATE/current"
      stop "there is no earlier deployment to go back to, so this one stays up: mend what the lines above say and deploy again"
    fi
    say "going back to the one before"
    as_in current
    bring_up current || stop "that one is not healthy either: ./scripts/deploy-docker.sh logs"
    stop "the earlier deployment runs again"
  fi
  if ! is_deployed; then
    rm -rf "$STATE/previous"
    [ ! -d "$STATE/current" ] || mv "$STATE/current" "$STATE/previous"
    mv "$STATE/next" "$STATE/current"
  fi
  forget_images
  ! may_grant || grant_nodes
  say "deployed in $((SECONDS - started)) s"
  table || true
}

# The chain before those who follow it; node by node where nodes run already, so that a bad image stops at the first;
# then what depends on them.
bring_up() {
  local of=$1 chain=() node
  [ -z "$devnet" ] || chain=(devnet)
  [ -z "$devnet" ] || up "$of" devnet || return 1
  if [ -z "$(container node-a)" ]; then
    up "$of" "${nodes[@]}" || return 1
  else
    for node in "${nodes[@]}"; do up "$of" "$node" || return 1; done
  fi
  write_targets
  free_web
  up "$of" "${rest[@]}" || return 1
  # Of an earlier deployment.
  for node in $(docker ps -a --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Label "com.docker.compose.service"}}'); do
    [[ " ${chain[*]} ${nodes[*]} ${rest[*]} " == *" $node "* ]] && continue
    docker rm -f "$(container "$node")" >/dev/null
    say "  $node is deployed no longer, and removed"
  done
}

# The page lives in node-b's network namespace. That this is another container's by now, compose does not see.
free_web() {
  local web
  web=$(container web)
  [ -n "$web" ] || return 0
  [[ $(docker inspect -f '{{.HostConfig.NetworkMode}}' "$web") == "container:$(container node-b)"* ]] || docker rm -f "$web" >/dev/null
}

# up <deployment> <service>...: starts them, replacing what differs, and waits.
up() {
  in_deployment "$1" up -d --no-deps "${@:2}" >"$STATE/log" 2>&1 || {
    cat "$STATE/log"
    return 1
  }
  healthy "${@:2}"
}

verb_start() { again start; }
verb_restart() { again restart; }

# Waits for what was named; another service may have been stopped on purpose.
again() {
  deployed
  [ ${#services[@]} -gt 0 ] || services=("${nodes[@]}" "${rest[@]}" ${devnet:+devnet})
  [ -n "$dry_run" ] || free_web
  act in_deployment current "$1" "${services[@]}"
  if [[ " ${services[*]} " == *" node-b "* ]]; then
    # It lives in node-b's network namespace, which is a new one now.
    act_quietly in_deployment current up -d --no-deps web
    act in_deployment current restart web
    [[ " ${services[*]} " == *" web "* ]] || services+=(web)
  fi
  [ -n "$dry_run" ] || healthy "${services[@]}" || stop "not healthy: ./scripts/deploy-docker.sh logs"
}

verb_stop() {
  deployed
  act in_deployment current stop "${services[@]}"
}

verb_status() {
  deployed
  table
}

verb_logs() {
  deployed
  in_deployment current logs --follow --tail=100 "${services[@]}"
}

verb_run() {
  deployed
  act in_deployment current run --rm -T --no-deps "${services[@]}"
}

verb_rollback() {
  [ -f "$STATE/previous/env" ] || stop "there is no earlier deployment"
  if [ -n "$dry_run" ]; then
    say "would: start the deployment before this one"
    return
  fi
  as_in previous
  bring_up previous || stop "the earlier deployment is not healthy: ./scripts/deploy-docker.sh logs"
  mv "$STATE/current" "$STATE/next" && mv "$STATE/previous" "$STATE/current" && mv "$STATE/next" "$STATE/previous"
  table || true
}

verb_cleanup() {
  local volumes containers
  mapfile -t containers < <(docker ps -aq --filter "label=com.docker.compose.project=$PROJECT")
  mapfile -t volumes < <(docker volume ls -q --filter "label=com.docker.compose.project=$PROJECT")
  say "this removes ${#containers[@]} containers, the images, .secrets and these volumes with the nodes' keys and state:"
  [ ${#volumes[@]} = 0 ] || printf '  %s\n' "${volumes[@]}"
  if [ -z "$yes" ] && [ -z "$dry_run" ]; then
    local answer=
    read -r -p "type yes to go on: " answer || true
    [ "$answer" = yes ] || stop "nothing was removed"
  fi
  [ ${#containers[@]} = 0 ] || act_quietly docker rm -f "${containers[@]}"
  [ ${#volumes[@]} = 0 ] || act_quietly docker volume rm "${volumes[@]}"
  mapfile -t containers < <(docker network ls -q --filter "label=com.docker.compose.project=$PROJECT")
  [ ${#containers[@]} = 0 ] || act_quietly docker network rm "${containers[@]}"
  act remove_images
  act rm -rf "$SECRETS" "$STATE"
  [ -n "$dry_run" ] || say "removed"
}

deployed() {
  [ -f "$STATE/current/env" ] || stop "nothing is deployed here: ./scripts/deploy-docker.sh deploy"
}

main "$@"
