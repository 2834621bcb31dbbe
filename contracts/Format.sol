// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What the contract accepts as a name and as an endpoint
/// @dev Every text that passes is printable ASCII without quotes, spaces or line ends.
library Format {
    /// @notice 1 to 63 characters of `a-z 0-9 -`.
    function isNodeId(string calldata text) internal pure returns (bool) {
        bytes calldata name = bytes(text);
        if (name.length == 0 || name.length > 63) return false;
        for (uint256 i; i < name.length; ++i) {
            if (!(_isLower(name[i]) || _isDigit(name[i]) || name[i] == "-")) return false;
        }
        return true;
    }

    /// @notice `host:port`, the host being a name or an IPv4 address of at most 253 characters or a bracketed IPv6
    /// address, the port 1 to 65535 without leading zeros.
    /// @dev Judges the alphabet and the shape. Whether the host can be dialled is for whoever dials it to judge.
    function isEndpoint(string calldata text) internal pure returns (bool) {
        bytes calldata endpoint = bytes(text);
        uint256 port = endpoint.length;
        while (port > 0 && endpoint[port - 1] != ":") --port;
        return port > 0 && _isHost(endpoint[:port - 1]) && _isPort(endpoint[port:]);
    }

    function _isHost(bytes calldata host) private pure returns (bool) {
        uint256 length = host.length;
        if (length == 0) return false;
        if (host[0] != "[") {
            if (length > 253) return false;
            for (uint256 i; i < length; ++i) {
                bytes1 c = host[i];
                if (!(_isLower(c) || _isUpper(c) || _isDigit(c) || c == "." || c == "-")) return false;
            }
            return true;
        }
        // "[::]" to the longest spelling of IPv6, 45 characters with an IPv4 tail.
        if (length < 4 || length > 47 || host[length - 1] != "]") return false;
        for (uint256 i = 1; i < length - 1; ++i) {
            bytes1 c = host[i];
            if (!(_isDigit(c) || (c >= "a" && c <= "f") || (c >= "A" && c <= "F") || c == ":" || c == ".")) {
                return false;
            }
        }
        return true;
    }

    function _isPort(bytes calldata digits) private pure returns (bool) {
        if (digits.length == 0 || digits.length > 5 || digits[0] == "0") return false;
        uint256 port;
        for (uint256 i; i < digits.length; ++i) {
            if (!_isDigit(digits[i])) return false;
            port = port * 10 + uint8(digits[i]) - 48;
        }
        return port <= 65535;
    }

    function _isLower(bytes1 c) private pure returns (bool) {
        return c >= "a" && c <= "z";
    }

    function _isUpper(bytes1 c) private pure returns (bool) {
        return c >= "A" && c <= "Z";
    }

    function _isDigit(bytes1 c) private pure returns (bool) {
        return c >= "0" && c <= "9";
    }
}
