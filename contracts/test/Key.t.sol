// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDstackAccessNFT} from "../IDstackAccessNFT.sol";
import {Access} from "./Base.sol";

contract KeyTest is Access {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
    }

    function test_an_update_replaces_the_key_and_names_holder_and_token() external {
        vm.expectEmit();
        emit IDstackAccessNFT.PublicKeyUpdated(ALICE, keyB);
        vm.expectEmit();
        emit IDstackAccessNFT.TokenPublicKeyUpdated(1, keyB);
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyB);
        eq(keyOfToken(1), keyB);
        eq(nft.getPublicKeyByOwner(ALICE), keyB);
    }

    function test_the_replaced_key_is_free() external {
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyB);
        grant(BOB, "node-b", keyA);
    }

    function test_a_first_key_can_be_registered_later() external {
        grant(BOB, "node-b", "");
        vm.prank(BOB);
        nft.updatePublicKey(2, keyB);
        eq(keyOfToken(2), keyB);
    }

    function test_only_the_holder_updates_even_against_the_owner_and_the_approved() external {
        vm.prank(ALICE);
        nft.approve(BOB, 1);
        vm.prank(ALICE);
        nft.setApprovalForAll(MALLORY, true);
        address[3] memory others = [owner, BOB, MALLORY];
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.NotTokenOwner.selector, 1, others[i]));
            vm.prank(others[i]);
            nft.updatePublicKey(1, keyB);
        }
    }

    function test_the_key_of_another_active_token_is_refused_to_everybody() external {
        grant(BOB, "node-b", keyB);
        grant(ALICE, "node-c", "");
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.PublicKeyTaken.selector, keyB, 2));
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyB);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.PublicKeyTaken.selector, keyA, 1));
        vm.prank(ALICE);
        nft.updatePublicKey(3, keyA);
        eq(keyOfToken(1), keyA);
    }

    function test_the_same_key_can_be_registered_once_more() external {
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyA);
        eq(keyOfToken(1), keyA);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.PublicKeyTaken.selector, keyA, 1));
        grant(BOB, "node-b", keyA);
    }

    function test_an_empty_key_is_no_update() external {
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidPublicKey.selector, ""));
        vm.prank(ALICE);
        nft.updatePublicKey(1, "");
    }

    function test_an_owner_of_several_tokens_has_the_key_registered_last() external {
        grant(ALICE, "node-b", keyB);
        eq(nft.getPublicKeyByOwner(ALICE), keyB);
        string memory keyC = keyOf(0xc);
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyC);
        eq(nft.getPublicKeyByOwner(ALICE), keyC);
        grant(ALICE, "node-c", "");
        eq(nft.getPublicKeyByOwner(ALICE), keyC);
        nft.revokeNodeAccess(1);
        eq(nft.getPublicKeyByOwner(ALICE), "");
    }

    function test_texts_that_wg_would_never_print_are_refused() external {
        refused("A");
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="); // zero
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"); // no padding
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=="); // 31 bytes
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"); // 33 bytes
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAF="); // stray bits
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB="); // stray bits only
        refused("AAAAAAAAAAAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAE="); // url-safe
        refused("AAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAE=");
        refused("AAAAAAAAAAAAAAAAAAAAA=AAAAAAAAAAAAAAAAAAAAE=");
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==");
        refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE= ");
        refused(unicode"AAAAAAAAAAAAAAAAAAAAéAAAAAAAAAAAAAAAAAAAAE=");
    }

    function testFuzz_every_canonical_key_but_zero_is_kept_as_it_is(uint256 raw) external {
        vm.assume(raw != 0 && raw != 0xa);
        string memory text = keyOf(raw);
        vm.prank(ALICE);
        nft.updatePublicKey(1, text);
        eq(keyOfToken(1), text);
    }

    function testFuzz_one_changed_symbol_is_accepted_only_where_the_text_stays_canonical(
        uint256 raw,
        uint256 index,
        bytes1 symbol
    ) external {
        bytes memory text = bytes(keyOf(raw));
        text[index % 44] = symbol;
        agrees(text);
    }

    function testFuzz_the_last_symbols_are_accepted_only_where_the_text_stays_canonical(
        uint256 raw,
        uint256 last,
        bool padded
    ) external {
        bytes memory text = bytes(keyOf(raw));
        text[42] = ALPHABET[last % 64];
        if (!padded) text[43] = ALPHABET[(last >> 8) % 64];
        agrees(text);
    }

    function testFuzz_any_bytes_are_accepted_only_where_they_are_canonical(bytes memory text) external {
        agrees(text);
    }

    /// @dev Whatever the contract accepts, forge's encoder must print for the bytes that a slow decoder reads in it.
    function agrees(bytes memory text) private {
        (bool isText, bytes memory raw) = slowlyDecoded(text);
        bool isCanonical = isText && raw.length == 32 && uint256(bytes32(raw)) != 0
            && keccak256(bytes(vm.toBase64(raw))) == keccak256(text);
        vm.prank(ALICE);
        try nft.updatePublicKey(1, string(text)) {
            eq(isCanonical, true);
            eq(keyOfToken(1), string(text));
        } catch (bytes memory reason) {
            eq(isCanonical, false);
            eq(string(reason), string(abi.encodeWithSelector(IDstackAccessNFT.InvalidPublicKey.selector, text)));
        }
    }

    bytes private constant ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    /// @dev Lenient: looks symbols up, bit by bit, stops at padding and drops what is left over.
    function slowlyDecoded(bytes memory text) private pure returns (bool isText, bytes memory raw) {
        uint256 symbols = text.length;
        while (symbols > 0 && text[symbols - 1] == "=") --symbols;
        raw = new bytes(symbols * 6 / 8);
        for (uint256 bit; bit < raw.length * 8; ++bit) {
            uint256 value = 0;
            while (value < 64 && ALPHABET[value] != text[bit / 6]) ++value;
            if (value == 64) return (false, "");
            if (value >> (5 - bit % 6) & 1 == 1) raw[bit / 8] |= bytes1(uint8(0x80 >> bit % 8));
        }
        return (true, raw);
    }

    function refused(string memory text) private {
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidPublicKey.selector, text));
        vm.prank(ALICE);
        nft.updatePublicKey(1, text);
    }
}
