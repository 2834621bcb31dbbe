#!/usr/bin/env bash
# shellcheck disable=SC2154 # sourced by deploy-docker.sh, whose variables these are
# On a real network nothing is written to the contract, unless a signing key and an owner for the nodes' tokens are given.

may_grant() {
  [ -z "$devnet" ] && [ -n "$(signing_key)" ] || return 1
  [[ $(setting NODE_OWNER) =~ ^0x[0-9a-fA-F]{40}$ ]] && return
  say "note: CONTRACT_PRIVATE_KEY is given; set NODE_OWNER to the address that shall own the nodes' tokens, and deploy grants them"
  return 1
}

signing_key() { secret_setting CONTRACT_PRIVATE_KEY; }

# Grants each node that waits for a token, and waits for it. The key goes in by standard input: no argument, no
# environment and no file of a container holds it.
grant_nodes() {
  local node key granted=() name settings=()
  for name in NETWORK CHAIN_ID CONTRACT_ADDRESS ALLOW_INSECURE_RPC; do settings+=(--env "$name=$(setting "$name")"); done
  for node in "${nodes[@]}"; do
    [[ $(reasons "$node") == *'"self.no-token"'* ]] || continue
    key=$(docker exec "$(container "$node")" healthcheck /wireguard | sed -nE 's/.*"publicKey":"([^"]+)".*/\1/p')
    say "granting $node to $(setting NODE_OWNER)"
    signing_key | docker run --rm --interactive --user "$AGENT_UID" --entrypoint dstack-vpn \
      --cap-drop ALL --security-opt no-new-privileges:true --read-only --network "container:$(container "$node")" \
      "${settings[@]}" --env RPC_URL_FILE=/run/rpc_url --volume "$SECRETS/rpc_url:/run/rpc_url:ro" \
      --env CONTRACT_PRIVATE_KEY_FILE=/dev/stdin \
      "$(sed -n 's/^NODE_IMAGE=//p' "$STATE/current/env")" \
      grant --to "$(setting NODE_OWNER)" --node-id "$node" --key "$key" || stop "$node could not be granted: see above"
    granted+=("$node")
  done
  [ ${#granted[@]} = 0 ] || patient=1 healthy "${granted[@]}" || stop "granted, but not healthy: ./scripts/deploy-docker.sh logs"
}
