// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IERC721Receiver} from "@openzeppelin/contracts/token/ERC721/IERC721Receiver.sol";
import {IDstackAccessNFT} from "../IDstackAccessNFT.sol";
import {Access} from "./Base.sol";

contract TransferTest is Access, IERC721Receiver {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
        nft.setRole(1, 2);
        vm.prank(ALICE);
        nft.setEndpoint(1, "a.example:51820");
    }

    function test_a_transfer_takes_key_role_and_endpoint_and_says_so() external {
        vm.expectEmit();
        emit IERC721.Transfer(ALICE, BOB, 1);
        vm.expectEmit();
        emit IDstackAccessNFT.NodeAccessTransferred(1, ALICE, BOB);
        vm.expectEmit();
        emit IDstackAccessNFT.RoleUpdated(1, 0);
        vm.expectEmit();
        emit IDstackAccessNFT.EndpointUpdated(1, "");
        vm.prank(ALICE);
        nft.transferFrom(ALICE, BOB, 1);

        (string memory nodeId, string memory key,, bool isActive) = nft.getNodeAccess(1);
        eq(nodeId, "node-a");
        eq(key, "");
        eq(isActive, true);
        eq(nft.getRole(1), 0);
        eq(nft.getEndpoint(1), "");
        eq(nft.getPublicKeyByOwner(ALICE), "");
        eq(nft.getPublicKeyByOwner(BOB), "");
        eq(nft.hasNodeAccess(ALICE, "node-a"), false);
        eq(nft.hasNodeAccess(BOB, "node-a"), true);
        eq(nft.getTokenIdByNodeId("node-a"), 1);
    }

    function test_a_member_token_is_transferred_with_two_events() external {
        nft.setRole(1, 0);
        vm.recordLogs();
        vm.prank(ALICE);
        nft.transferFrom(ALICE, BOB, 1);
        eq(vm.getRecordedLogs().length, 2);
    }

    function test_the_buyer_registers_their_own_key_and_the_seller_no_more() external {
        vm.prank(ALICE);
        nft.transferFrom(ALICE, BOB, 1);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.NotTokenOwner.selector, 1, ALICE));
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyA);
        vm.prank(BOB);
        nft.updatePublicKey(1, keyB);
        eq(keyOfToken(1), keyB);
        eq(nft.getPublicKeyByOwner(BOB), keyB);
        eq(nft.getPublicKeyByOwner(ALICE), "");
    }

    function test_the_sellers_key_is_free() external {
        vm.prank(ALICE);
        nft.transferFrom(ALICE, BOB, 1);
        grant(ALICE, "laptop", keyA);
        eq(nft.getPublicKeyByOwner(ALICE), keyA);
    }

    function test_a_token_that_comes_back_has_no_key() external {
        vm.prank(ALICE);
        nft.transferFrom(ALICE, BOB, 1);
        vm.prank(BOB);
        nft.transferFrom(BOB, ALICE, 1);
        eq(keyOfToken(1), "");
        eq(nft.getPublicKeyByOwner(ALICE), "");
    }

    function test_a_transfer_to_the_holder_changes_nothing() external {
        vm.recordLogs();
        vm.prank(ALICE);
        nft.transferFrom(ALICE, ALICE, 1);
        eq(vm.getRecordedLogs().length, 1);
        eq(keyOfToken(1), keyA);
        eq(nft.getRole(1), 2);
        eq(nft.getEndpoint(1), "a.example:51820");
    }

    function test_the_approved_may_transfer() external {
        vm.prank(ALICE);
        nft.approve(MALLORY, 1);
        vm.prank(MALLORY);
        nft.transferFrom(ALICE, BOB, 1);
        eq(nft.ownerOf(1), BOB);
    }

    function test_nobody_else_transfers_not_even_the_owner() external {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InsufficientApproval.selector, owner, 1));
        nft.transferFrom(ALICE, BOB, 1);
    }

    function test_nobody_burns() external {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        vm.prank(ALICE);
        nft.transferFrom(ALICE, address(0), 1);
    }

    function test_a_receiver_is_called_back_when_everything_is_done() external {
        vm.prank(ALICE);
        nft.safeTransferFrom(ALICE, address(this), 1);
        eq(keyOfToken(1), keyB);
    }

    function onERC721Received(address, address, uint256 tokenId, bytes calldata) external returns (bytes4) {
        eq(keyOfToken(tokenId), "");
        eq(nft.getRole(tokenId), 0);
        nft.updatePublicKey(tokenId, keyB);
        return IERC721Receiver.onERC721Received.selector;
    }
}
