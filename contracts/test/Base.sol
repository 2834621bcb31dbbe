// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {DstackAccessNFT} from "../DstackAccessNFT.sol";

/// @dev The few of forge's cheat codes that the tests need.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function prank(address caller) external;
    function warp(uint256 timestamp) external;
    function assume(bool condition) external pure;
    function expectRevert(bytes calldata reason) external;
    function expectEmit() external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function toBase64(bytes calldata raw) external pure returns (string memory);
}

abstract contract Base {
    bool public constant IS_TEST = true;
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    error NotEqual(string got, string wanted);
    error NotEqualNumbers(uint256 got, uint256 wanted);

    function eq(string memory got, string memory wanted) internal pure {
        if (!same(got, wanted)) revert NotEqual(got, wanted);
    }

    function eq(uint256 got, uint256 wanted) internal pure {
        if (got != wanted) revert NotEqualNumbers(got, wanted);
    }

    function eq(address got, address wanted) internal pure {
        eq(uint160(got), uint160(wanted));
    }

    function eq(bool got, bool wanted) internal pure {
        eq(got ? 1 : 0, wanted ? 1 : 0);
    }

    function same(string memory a, string memory b) internal pure returns (bool) {
        return keccak256(bytes(a)) == keccak256(bytes(b));
    }

    /// @dev The canonical text of a key, by forge's encoder and not by ours.
    function keyOf(uint256 raw) internal pure returns (string memory) {
        return vm.toBase64(abi.encodePacked(raw));
    }
}

/// @dev A contract that the test owns, with the people and keys that the tests speak of.
abstract contract Access is Base {
    DstackAccessNFT internal immutable nft = new DstackAccessNFT();
    address internal immutable owner = address(this);
    address internal constant ALICE = address(0xa11ce);
    address internal constant BOB = address(0xb0b);
    address internal constant MALLORY = address(0x3a110);
    string internal keyA = keyOf(0xa);
    string internal keyB = keyOf(0xb);

    function grant(address to, string memory nodeId, string memory key) internal returns (uint256 tokenId) {
        return nft.mintNodeAccess(to, nodeId, key, "");
    }

    function keyOfToken(uint256 tokenId) internal view returns (string memory) {
        return nft.getPublicKeyByTokenId(tokenId);
    }
}
