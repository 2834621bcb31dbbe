// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IDstackAccessNFT} from "../IDstackAccessNFT.sol";
import {Access} from "./Base.sol";

contract OwnershipTest is Access {
    function test_the_deployer_is_the_owner() external view {
        eq(nft.owner(), address(this));
    }

    function test_ownership_changes_in_two_steps() external {
        vm.expectEmit();
        emit IDstackAccessNFT.OwnershipTransferInitiated(owner, BOB);
        nft.transferContractOwnership(BOB);
        eq(nft.owner(), owner);
        eq(nft.pendingOwner(), BOB);
        grant(ALICE, "node-a", keyA);

        vm.expectEmit();
        emit Ownable.OwnershipTransferred(owner, BOB);
        vm.prank(BOB);
        nft.acceptOwnership();
        eq(nft.owner(), BOB);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, owner));
        nft.revokeNodeAccess(1);
        vm.prank(BOB);
        nft.revokeNodeAccess(1);
    }

    function test_both_names_of_the_first_step_say_the_same() external {
        vm.expectEmit();
        emit Ownable2Step.OwnershipTransferStarted(owner, BOB);
        vm.expectEmit();
        emit IDstackAccessNFT.OwnershipTransferInitiated(owner, BOB);
        nft.transferOwnership(BOB);
        vm.expectEmit();
        emit Ownable2Step.OwnershipTransferStarted(owner, ALICE);
        vm.expectEmit();
        emit IDstackAccessNFT.OwnershipTransferInitiated(owner, ALICE);
        nft.transferContractOwnership(ALICE);
        eq(nft.pendingOwner(), ALICE);
    }

    function test_only_who_was_offered_it_accepts() external {
        nft.transferContractOwnership(BOB);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, MALLORY));
        vm.prank(MALLORY);
        nft.acceptOwnership();
    }

    function test_an_offer_can_be_withdrawn() external {
        nft.transferContractOwnership(BOB);
        nft.transferContractOwnership(address(0));
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, BOB));
        vm.prank(BOB);
        nft.acceptOwnership();
    }

    function test_only_the_owner_offers_it() external {
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, MALLORY);
        vm.expectRevert(refusal);
        vm.prank(MALLORY);
        nft.transferContractOwnership(MALLORY);
        vm.expectRevert(refusal);
        vm.prank(MALLORY);
        nft.transferOwnership(MALLORY);
    }

    function test_nobody_renounces_it() external {
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.OwnershipNotRenounceable.selector));
        nft.renounceOwnership();
    }
}
