// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";

/// @notice A WireGuard public key: 32 bytes in one storage slot, base64 only where a person or `wg` reads it.
/// @dev No key may be zero, so zero stands for "none".
type PublicKey is bytes32;

using {isNone, toText} for PublicKey global;

PublicKey constant NO_KEY = PublicKey.wrap(0);

/// @notice The key that `text` spells, or `NO_KEY` for anything that `wg pubkey` would never print:
/// another length than 44, a symbol outside the standard alphabet, stray bits in the last symbol, 32 zero bytes.
function parsePublicKey(string calldata text) pure returns (PublicKey) {
    bytes calldata symbols = bytes(text);
    if (symbols.length != 44 || symbols[43] != "=") return NO_KEY;

    uint256 bits;
    for (uint256 i; i < 42; ++i) {
        uint256 sextet = sextetOf(symbols[i]);
        if (sextet > 63) return NO_KEY;
        bits = (bits << 6) | sextet;
    }
    // 42 symbols hold 252 bits. The last one holds the other four above two bits of padding, which a canonical
    // spelling leaves zero: without this check four texts would be one key, and uniqueness would be for show.
    uint256 last = sextetOf(symbols[42]);
    if (last > 63 || last & 3 != 0) return NO_KEY;
    return PublicKey.wrap(bytes32((bits << 4) | (last >> 2)));
}

function isNone(PublicKey key) pure returns (bool) {
    return PublicKey.unwrap(key) == 0;
}

/// @notice The canonical base64 of `key`; empty for none.
function toText(PublicKey key) pure returns (string memory) {
    return key.isNone() ? "" : Base64.encode(abi.encodePacked(PublicKey.unwrap(key)));
}

/// @dev RFC 4648 section 4; 64 for a symbol that is not of the alphabet.
function sextetOf(bytes1 symbol) pure returns (uint256) {
    uint256 code = uint8(symbol);
    unchecked {
        if (symbol >= "a" && symbol <= "z") return code - 71;
        if (symbol >= "A" && symbol <= "Z") return code - 65;
        if (symbol >= "0" && symbol <= "9") return code + 4;
    }
    if (symbol == "+") return 62;
    if (symbol == "/") return 63;
    return 64;
}
