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
  local node key said granted=() name settings=()
  for name in NETWORK CHAIN_ID CONTRACT_ADDRESS ALLOW_INSECURE_RPC; do settings+=(--env "$name=$(setting "$name")"); done
  for node in "${nodes[@]}"; do
    [[ $(reasons "$node") == *'"self.no-token"'* ]] || continue
    key=$(docker exec "$(container "$node")" healthcheck /wireguard | sed -nE 's/.*"publicKey":"([^"]+)".*/\1/p')
    say "granting $node to $(setting NODE_OWNER)"
    said=$(signing_key | docker run --rm --interactive --user "$AGENT_UID" --entrypoint dstack-vpn \
      --cap-drop ALL --security-opt no-new-privileges:true --read-only --network "container:$(container "$node")" \
      "${settings[@]}" --env RPC_URL_FILE=/run/rpc_url --volume "$SECRETS/rpc_url:/run/rpc_url:ro" \
      --env CONTRACT_PRIVATE_KEY_FILE=/dev/stdin \
      "$(sed -n 's/^NODE_IMAGE=//p' "$STATE/current/env")" \
      grant --to "$(setting NODE_OWNER)" --node-id "$node" --key "$key") || stop "$node could not be granted: see above"
    say "$said"
    roles_awaited "$node" "$(sed -nE 's/^token +([0-9]+)$/\1/p' <<<"$said")"
    granted+=("$node")
  done
  [ ${#granted[@]} = 0 ] || patient=1 healthy "${granted[@]}" || stop "granted, but not healthy: ./scripts/deploy-docker.sh logs"
}

# A grant makes members. Who is dialled is for the owners to say: the contract's one sets the role, the token's the endpoint.
roles_awaited() {
  local i
  for ((i = 0; i < node_count; i++)); do [ "${nodes[i]}" != "$1" ] || break; done
  say "token $2 is a member, and nobody dials it. With the keys of the contract's and of the token's owner:" \
    "  dstack-vpn set-role --token $2 --role node        # or gateway" \
    "  dstack-vpn set-endpoint --token $2 --endpoint HOST:$(wireguard_port "$i")" \
    "  (where the contract has no such functions: GATEWAYS and PEER_ENDPOINTS in .env)"
}
