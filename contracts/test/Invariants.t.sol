// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {DstackAccessNFT} from "../DstackAccessNFT.sol";
import {Access, Base} from "./Base.sol";

/// @dev Lets a few people try anything with a few names and keys, and writes down what must come of it. A call that
/// succeeds against the rules, or fails within them, reverts here, and so ends the run.
contract People is Access {
    struct Token {
        address holder;
        bool isActive;
        uint8 role;
        string nodeId;
        string key;
        string endpoint;
    }

    Token[] private _tokens;
    address[4] private _people = [owner, ALICE, BOB, MALLORY];
    string[4] private _names = ["node-a", "node-b", "node-c", "laptop"];

    modifier known() {
        if (_tokens.length == 0) return;
        _;
    }

    function mint(uint256 who, uint256 to, uint256 name, uint256 key) external {
        Token memory token = Token(person(to), true, 0, _names[name % _names.length], keyOrNone(key), "");
        address actor = caller(who, owner);
        bool allowed = actor == owner && tokenNamed(token.nodeId) == 0 && tokenWithKey(token.key) == 0;
        vm.prank(actor);
        try nft.mintNodeAccess(token.holder, token.nodeId, token.key, "") returns (uint256 tokenId) {
            eq(allowed, true);
            _tokens.push(token);
            eq(tokenId, _tokens.length);
        } catch {
            eq(allowed, false);
        }
    }

    function revoke(uint256 who, uint256 which) external known {
        Token storage token = pick(which);
        address actor = caller(who, owner);
        bool allowed = actor == owner && token.isActive;
        vm.prank(actor);
        try nft.revokeNodeAccess(idOf(which)) {
            eq(allowed, true);
            (token.isActive, token.role, token.key, token.endpoint) = (false, 0, "", "");
        } catch {
            eq(allowed, false);
        }
    }

    function update(uint256 who, uint256 which, uint256 key) external known {
        Token storage token = pick(which);
        string memory text = keyOrNone(key);
        uint256 claimant = tokenWithKey(text);
        address actor = caller(who, token.holder);
        bool allowed = actor == token.holder && token.isActive && bytes(text).length != 0
            && (claimant == 0 || claimant == idOf(which));
        vm.prank(actor);
        try nft.updatePublicKey(idOf(which), text) {
            eq(allowed, true);
            token.key = text;
        } catch {
            eq(allowed, false);
        }
    }

    function assign(uint256 who, uint256 which, uint8 role) external known {
        Token storage token = pick(which);
        role %= 4;
        address actor = caller(who, owner);
        bool allowed = actor == owner && token.isActive && role < 3;
        vm.prank(actor);
        try nft.setRole(idOf(which), role) {
            eq(allowed, true);
            token.role = role;
            if (role == 0) token.endpoint = "";
        } catch {
            eq(allowed, false);
        }
    }

    function dial(uint256 who, uint256 which, bool nowhere) external known {
        Token storage token = pick(which);
        string memory endpoint = nowhere ? "" : "a.example:51820";
        address actor = caller(who, token.holder);
        bool allowed = actor == token.holder && token.isActive && token.role != 0;
        vm.prank(actor);
        try nft.setEndpoint(idOf(which), endpoint) {
            eq(allowed, true);
            token.endpoint = endpoint;
        } catch {
            eq(allowed, false);
        }
    }

    function transfer(uint256 who, uint256 which, uint256 to) external known {
        Token storage token = pick(which);
        address buyer = person(to);
        address actor = caller(who, token.holder);
        bool allowed = actor == token.holder && token.isActive;
        vm.prank(actor);
        try nft.transferFrom(token.holder, buyer, idOf(which)) {
            eq(allowed, true);
            if (buyer != token.holder) (token.holder, token.role, token.key, token.endpoint) = (buyer, 0, "", "");
        } catch {
            eq(allowed, false);
        }
    }

    function contractUnderTest() external view returns (DstackAccessNFT) {
        return nft;
    }

    function tokens() external view returns (Token[] memory) {
        return _tokens;
    }

    function person(uint256 seed) private view returns (address) {
        return _people[seed % _people.length];
    }

    /// @dev Three calls in four come from who may make them: runs of mere refusals would prove little.
    function caller(uint256 seed, address rightful) private view returns (address) {
        return seed % 4 == 0 ? person(seed / 4) : rightful;
    }

    function pick(uint256 which) private view returns (Token storage) {
        return _tokens[which % _tokens.length];
    }

    function idOf(uint256 which) private view returns (uint256) {
        return which % _tokens.length + 1;
    }

    function keyOrNone(uint256 seed) private pure returns (string memory) {
        return seed % 5 == 0 ? "" : keyOf(seed % 5);
    }

    function tokenNamed(string memory nodeId) private view returns (uint256 tokenId) {
        for (uint256 i; i < _tokens.length; ++i) {
            if (_tokens[i].isActive && same(_tokens[i].nodeId, nodeId)) return i + 1;
        }
    }

    function tokenWithKey(string memory key) private view returns (uint256 tokenId) {
        if (bytes(key).length == 0) return 0;
        for (uint256 i; i < _tokens.length; ++i) {
            if (same(_tokens[i].key, key)) return i + 1;
        }
    }
}

contract AccessInvariants is Base {
    People private _people;
    DstackAccessNFT private _nft;

    function setUp() external {
        _people = new People();
        _nft = _people.contractUnderTest();
    }

    /// @dev forge asks this which contracts to call at random.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_people);
    }

    function invariant_no_two_active_tokens_share_a_key_or_a_name() external view {
        uint256 count = _people.tokens().length;
        for (uint256 a = 1; a <= count; ++a) {
            (string memory nameA, string memory keyA,, bool activeA) = _nft.getNodeAccess(a);
            for (uint256 b = a + 1; activeA && b <= count; ++b) {
                (string memory nameB, string memory keyB,, bool activeB) = _nft.getNodeAccess(b);
                if (!activeB) continue;
                eq(same(nameA, nameB), false);
                eq(same(keyA, keyB) && bytes(keyA).length != 0, false);
            }
        }
    }

    function invariant_a_revoked_token_has_neither_key_nor_role_nor_endpoint() external view {
        for (uint256 tokenId = _people.tokens().length; tokenId > 0; --tokenId) {
            (, string memory key,, bool isActive) = _nft.getNodeAccess(tokenId);
            if (isActive) continue;
            eq(key, "");
            eq(_nft.getRole(tokenId), 0);
            eq(_nft.getEndpoint(tokenId), "");
        }
    }

    function invariant_a_member_has_no_endpoint() external view {
        for (uint256 tokenId = _people.tokens().length; tokenId > 0; --tokenId) {
            if (_nft.getRole(tokenId) == 0) eq(_nft.getEndpoint(tokenId), "");
        }
    }

    function invariant_a_token_has_what_its_present_holder_registered_and_was_assigned() external view {
        People.Token[] memory tokens = _people.tokens();
        for (uint256 i; i < tokens.length; ++i) {
            (string memory nodeId, string memory key,, bool isActive) = _nft.getNodeAccess(i + 1);
            eq(nodeId, tokens[i].nodeId);
            eq(key, tokens[i].key);
            eq(isActive, tokens[i].isActive);
            eq(_nft.ownerOf(i + 1), tokens[i].holder);
            eq(_nft.getRole(i + 1), tokens[i].role);
            eq(_nft.getEndpoint(i + 1), tokens[i].endpoint);
            eq(_nft.hasNodeAccess(tokens[i].holder, nodeId) || !isActive, true);
            if (isActive) eq(_nft.getTokenIdByNodeId(nodeId), i + 1);
        }
    }
}
