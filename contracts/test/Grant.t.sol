// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IDstackAccessNFT} from "../IDstackAccessNFT.sol";
import {Access} from "./Base.sol";

contract GrantTest is Access {
    function test_a_grant_is_readable_in_every_way() external {
        vm.warp(1_700_000_000);
        vm.expectEmit();
        emit IERC721.Transfer(address(0), ALICE, 1);
        vm.expectEmit();
        emit IDstackAccessNFT.NodeAccessGranted(1, "node-a", ALICE, keyA);
        eq(nft.mintNodeAccess(ALICE, "node-a", keyA, "ipfs://a"), 1);

        (string memory nodeId, string memory key, uint256 createdAt, bool isActive) = nft.getNodeAccess(1);
        eq(nodeId, "node-a");
        eq(key, keyA);
        eq(createdAt, 1_700_000_000);
        eq(isActive, true);
        eq(nft.ownerOf(1), ALICE);
        eq(nft.tokenURI(1), "ipfs://a");
        eq(nft.getTokenIdByNodeId("node-a"), 1);
        eq(nft.hasNodeAccess(ALICE, "node-a"), true);
        eq(nft.verifyAccess(ALICE, "node-a"), true);
        eq(keyOfToken(1), keyA);
        eq(nft.getPublicKeyByOwner(ALICE), keyA);
        eq(nft.getRole(1), 0);
        eq(nft.getEndpoint(1), "");
    }

    function test_ids_count_from_one_and_are_never_used_again() external {
        eq(grant(ALICE, "node-a", keyA), 1);
        eq(grant(ALICE, "node-b", ""), 2);
        nft.revokeNodeAccess(2);
        eq(grant(ALICE, "node-b", ""), 3);
    }

    function test_a_refused_grant_uses_no_id() external {
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidNodeId.selector, ""));
        grant(ALICE, "", keyA);
        eq(grant(ALICE, "node-a", keyA), 1);
    }

    function test_a_grant_may_leave_the_key_to_its_holder() external {
        grant(ALICE, "node-a", "");
        eq(keyOfToken(1), "");
        eq(nft.getPublicKeyByOwner(ALICE), "");
        eq(nft.hasNodeAccess(ALICE, "node-a"), true);
    }

    function test_several_grants_may_leave_their_keys_empty() external {
        grant(ALICE, "node-a", "");
        grant(BOB, "node-b", "");
    }

    function test_a_grant_makes_no_callback() external {
        // This contract would revert: it has no onERC721Received.
        eq(nft.ownerOf(grant(address(this), "node-a", keyA)), address(this));
    }

    function test_only_the_owner_grants() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, MALLORY));
        vm.prank(MALLORY);
        nft.mintNodeAccess(MALLORY, "node-a", keyA, "");
    }

    function test_nobody_is_granted_to() external {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721InvalidReceiver.selector, address(0)));
        grant(address(0), "node-a", keyA);
    }

    function test_a_name_is_unique_among_active_tokens() external {
        grant(ALICE, "node-a", keyA);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.NodeIdTaken.selector, "node-a", 1));
        grant(ALICE, "node-a", keyB);
    }

    function test_the_name_of_a_revoked_token_goes_to_its_replacement() external {
        grant(ALICE, "node-a", keyA);
        nft.revokeNodeAccess(1);
        grant(BOB, "node-a", keyA);
        eq(nft.getTokenIdByNodeId("node-a"), 2);
        eq(nft.hasNodeAccess(ALICE, "node-a"), false);
        eq(nft.hasNodeAccess(BOB, "node-a"), true);

        (string memory nodeId,,, bool isActive) = nft.getNodeAccess(1);
        eq(nodeId, "node-a");
        eq(isActive, false);
    }

    function test_a_key_is_unique_among_active_tokens() external {
        grant(ALICE, "node-a", keyA);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.PublicKeyTaken.selector, keyA, 1));
        grant(ALICE, "node-b", keyA);
    }

    function test_a_key_that_is_none_is_refused() external {
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidPublicKey.selector, "no key"));
        grant(ALICE, "node-a", "no key");
    }
}

contract RevokeTest is Access {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
    }

    function test_a_revoke_ends_access_key_and_name_and_keeps_the_record() external {
        vm.expectEmit();
        emit IDstackAccessNFT.NodeAccessRevoked(1, "node-a");
        nft.revokeNodeAccess(1);

        (string memory nodeId, string memory key,, bool isActive) = nft.getNodeAccess(1);
        eq(nodeId, "node-a");
        eq(key, "");
        eq(isActive, false);
        eq(nft.ownerOf(1), ALICE);
        eq(keyOfToken(1), "");
        eq(nft.getPublicKeyByOwner(ALICE), "");
        eq(nft.hasNodeAccess(ALICE, "node-a"), false);
        eq(nft.verifyAccess(ALICE, "node-a"), false);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.UnknownNodeId.selector, "node-a"));
        nft.getTokenIdByNodeId("node-a");
    }

    function test_a_revoke_takes_role_and_endpoint_and_says_so() external {
        nft.setRole(1, 1);
        vm.prank(ALICE);
        nft.setEndpoint(1, "a.example:51820");
        vm.expectEmit();
        emit IDstackAccessNFT.NodeAccessRevoked(1, "node-a");
        vm.expectEmit();
        emit IDstackAccessNFT.RoleUpdated(1, 0);
        vm.expectEmit();
        emit IDstackAccessNFT.EndpointUpdated(1, "");
        nft.revokeNodeAccess(1);
        eq(nft.getRole(1), 0);
        eq(nft.getEndpoint(1), "");
    }

    function test_only_the_owner_revokes() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, ALICE));
        vm.prank(ALICE);
        nft.revokeNodeAccess(1);
    }

    function test_the_key_of_a_revoked_token_is_free() external {
        nft.revokeNodeAccess(1);
        grant(BOB, "node-b", keyA);
        eq(keyOfToken(2), keyA);
    }

    function test_a_token_without_a_key_can_be_revoked() external {
        grant(ALICE, "node-b", "");
        nft.revokeNodeAccess(2);
    }

    function test_a_revoked_token_neither_changes_nor_moves() external {
        nft.revokeNodeAccess(1);
        bytes memory refusal = abi.encodeWithSelector(IDstackAccessNFT.TokenRevoked.selector, 1);
        vm.expectRevert(refusal);
        nft.revokeNodeAccess(1);
        vm.expectRevert(refusal);
        nft.setRole(1, 1);
        vm.expectRevert(refusal);
        vm.prank(ALICE);
        nft.updatePublicKey(1, keyB);
        vm.expectRevert(refusal);
        vm.prank(ALICE);
        nft.setEndpoint(1, "");
        vm.expectRevert(refusal);
        vm.prank(ALICE);
        nft.transferFrom(ALICE, BOB, 1);
        vm.expectRevert(refusal);
        vm.prank(ALICE);
        nft.transferFrom(ALICE, ALICE, 1);
    }
}

contract UnknownTest is Access {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
    }

    function test_everything_about_an_unknown_token_reverts(uint256 tokenId) external {
        vm.assume(tokenId != 1);
        bytes memory refusal = abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, tokenId);
        vm.expectRevert(refusal);
        nft.getNodeAccess(tokenId);
        vm.expectRevert(refusal);
        nft.getPublicKeyByTokenId(tokenId);
        vm.expectRevert(refusal);
        nft.ownerOf(tokenId);
        vm.expectRevert(refusal);
        nft.tokenURI(tokenId);
        vm.expectRevert(refusal);
        nft.getRole(tokenId);
        vm.expectRevert(refusal);
        nft.getEndpoint(tokenId);
        vm.expectRevert(refusal);
        nft.revokeNodeAccess(tokenId);
        vm.expectRevert(refusal);
        nft.setRole(tokenId, 1);
        vm.expectRevert(refusal);
        nft.updatePublicKey(tokenId, keyB);
        vm.expectRevert(refusal);
        nft.setEndpoint(tokenId, "");
        vm.expectRevert(refusal);
        nft.transferFrom(owner, BOB, tokenId);
    }

    function test_nobody_has_access_under_an_unknown_name(address user) external {
        eq(nft.hasNodeAccess(user, "node-b"), false);
        eq(nft.verifyAccess(user, "node-b"), false);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.UnknownNodeId.selector, "node-b"));
        nft.getTokenIdByNodeId("node-b");
    }

    function test_only_its_holder_has_access_under_a_name(address user) external view {
        eq(nft.hasNodeAccess(user, "node-a"), user == ALICE);
        eq(nft.verifyAccess(user, "node-a"), user == ALICE);
    }

    function test_only_a_holder_has_a_key(address user) external view {
        eq(nft.getPublicKeyByOwner(user), user == ALICE ? keyA : "");
    }
}
