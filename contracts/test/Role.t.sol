// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IDstackAccessNFT} from "../IDstackAccessNFT.sol";
import {Access} from "./Base.sol";

contract RoleTest is Access {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
    }

    function test_the_owner_assigns_every_role() external {
        for (uint8 i; i < 6; ++i) {
            uint8 role = i % 3;
            vm.expectEmit();
            emit IDstackAccessNFT.RoleUpdated(1, role);
            nft.setRole(1, role);
            eq(nft.getRole(1), role);
        }
    }

    function test_there_is_no_fourth_role(uint8 role) external {
        vm.assume(role > 2);
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidRole.selector, role));
        nft.setRole(1, role);
    }

    function test_nobody_else_assigns_roles() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, ALICE));
        vm.prank(ALICE);
        nft.setRole(1, 2);
    }

    function test_a_role_change_leaves_key_and_endpoint_of_a_node() external {
        nft.setRole(1, 1);
        vm.prank(ALICE);
        nft.setEndpoint(1, "a.example:51820");
        nft.setRole(1, 2);
        eq(nft.getEndpoint(1), "a.example:51820");
        eq(keyOfToken(1), keyA);
    }

    function test_who_becomes_a_member_loses_the_endpoint() external {
        nft.setRole(1, 1);
        vm.prank(ALICE);
        nft.setEndpoint(1, "a.example:51820");
        vm.expectEmit();
        emit IDstackAccessNFT.RoleUpdated(1, 0);
        vm.expectEmit();
        emit IDstackAccessNFT.EndpointUpdated(1, "");
        nft.setRole(1, 0);
        eq(nft.getEndpoint(1), "");
        eq(keyOfToken(1), keyA);
    }

    function test_who_becomes_a_member_without_an_endpoint_loses_none() external {
        nft.setRole(1, 1);
        vm.recordLogs();
        nft.setRole(1, 0);
        eq(vm.getRecordedLogs().length, 1);
    }
}

contract EndpointTest is Access {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
        nft.setRole(1, 1);
    }

    function test_a_node_says_where_it_can_be_dialled() external {
        vm.expectEmit();
        emit IDstackAccessNFT.EndpointUpdated(1, "a.example:51820");
        vm.prank(ALICE);
        nft.setEndpoint(1, "a.example:51820");
        eq(nft.getEndpoint(1), "a.example:51820");
    }

    function test_an_endpoint_can_be_withdrawn() external {
        vm.prank(ALICE);
        nft.setEndpoint(1, "a.example:51820");
        vm.expectEmit();
        emit IDstackAccessNFT.EndpointUpdated(1, "");
        vm.prank(ALICE);
        nft.setEndpoint(1, "");
        eq(nft.getEndpoint(1), "");
    }

    function test_a_member_has_no_endpoint() external {
        grant(BOB, "laptop", keyB);
        bytes memory refusal = abi.encodeWithSelector(IDstackAccessNFT.EndpointNotAllowed.selector, 2);
        vm.expectRevert(refusal);
        vm.prank(BOB);
        nft.setEndpoint(2, "b.example:51820");
        vm.expectRevert(refusal);
        vm.prank(BOB);
        nft.setEndpoint(2, "");
    }

    function test_only_the_holder_sets_it_even_against_the_owner_and_the_approved() external {
        vm.prank(ALICE);
        nft.approve(BOB, 1);
        address[2] memory others = [owner, BOB];
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.NotTokenOwner.selector, 1, others[i]));
            vm.prank(others[i]);
            nft.setEndpoint(1, "b.example:51820");
        }
    }
}
