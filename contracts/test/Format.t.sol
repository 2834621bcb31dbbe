// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDstackAccessNFT} from "../IDstackAccessNFT.sol";
import {Access} from "./Base.sol";

contract NodeIdTest is Access {
    string private constant LONGEST = "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxy";

    function test_names_that_are_accepted() external {
        string[5] memory names = ["a", "-", "0", "node-a", LONGEST];
        for (uint256 i; i < names.length; ++i) {
            uint256 tokenId = grant(ALICE, names[i], "");
            eq(nft.getTokenIdByNodeId(names[i]), tokenId);
        }
    }

    function test_names_that_are_refused() external {
        string[12] memory names = [
            "",
            "Node",
            "node_a",
            "node.a",
            "node a",
            "node/a",
            "node`",
            "node{",
            "node:",
            "a\n",
            unicode"nöde",
            string.concat(LONGEST, "a")
        ];
        for (uint256 i; i < names.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidNodeId.selector, names[i]));
            grant(ALICE, names[i], "");
        }
    }

    function testFuzz_a_name_is_accepted_only_in_its_alphabet(bytes memory name) external {
        bool fits = name.length >= 1 && name.length <= 63;
        for (uint256 i; i < name.length; ++i) {
            bytes1 c = name[i];
            fits = fits && ((c >= "a" && c <= "z") || (c >= "0" && c <= "9") || c == "-");
        }
        if (!fits) vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidNodeId.selector, name));
        grant(ALICE, string(name), "");
    }

    function testFuzz_one_changed_symbol_is_accepted_only_in_the_alphabet(uint256 index, bytes1 c) external {
        bytes memory name = bytes(LONGEST);
        name[index % name.length] = c;
        bool fits = (c >= "a" && c <= "z") || (c >= "0" && c <= "9") || c == "-";
        if (!fits) vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidNodeId.selector, name));
        grant(ALICE, string(name), "");
    }
}

contract EndpointFormatTest is Access {
    function setUp() external {
        grant(ALICE, "node-a", keyA);
        nft.setRole(1, 1);
    }

    function test_endpoints_that_are_accepted() external {
        accepted("a:1");
        accepted("198.51.100.7:51820");
        accepted("a-1.Example.NET:65535");
        accepted("[::]:1");
        accepted("[2001:db8::1]:51820");
        accepted("[2001:0DB8:ffff:ffff:ffff:ffff:255.255.255.255]:1");
        accepted(string.concat(repeated("a", 253), ":65535"));
    }

    function test_endpoints_that_are_refused() external {
        string[30] memory texts = [
            "a",
            ":",
            ":1",
            "a:",
            "a:0",
            "a:01",
            "a:65536",
            "a:99999",
            "a:100000",
            "a:1x",
            "a:-1",
            "a: 1",
            "a:1\n",
            "a b:1",
            "a_b:1",
            "a/b:1",
            "a@b:1",
            "a\n:1",
            unicode"ä:1",
            "2001:db8::1:51820",
            "[]:1",
            "[:]:1",
            "[::1:1",
            "::1]:1",
            "[::1]1",
            "[::g]:1",
            "[::G]:1",
            "a[b:1",
            "[fe80::1%eth0]:1",
            "[[::1]:1"
        ];
        for (uint256 i; i < texts.length; ++i) {
            refused(texts[i]);
        }
        refused(string.concat(repeated("a", 254), ":1"));
        refused(string.concat("[", repeated(":", 46), "]:1"));
        refused(string.concat("a:", repeated("9", 100)));
        refused(repeated("a", 100_000));
    }

    function testFuzz_every_port_but_zero_is_accepted(uint16 port) external {
        string memory text = string.concat("a:", decimal(port));
        if (port == 0) refused(text);
        else accepted(text);
    }

    function testFuzz_whatever_is_accepted_is_plain_text_and_short(bytes memory text) external {
        vm.prank(ALICE);
        try nft.setEndpoint(1, string(text)) {
            eq(text.length <= 259, true);
            for (uint256 i; i < text.length; ++i) {
                eq(plain(text[i]), true);
            }
        } catch (bytes memory reason) {
            eq(string(reason), string(abi.encodeWithSelector(IDstackAccessNFT.InvalidEndpoint.selector, text)));
        }
    }

    function testFuzz_one_odd_byte_spoils_an_endpoint(uint256 index, bytes1 odd) external {
        vm.assume(!plain(odd));
        bytes memory text = "a.example:51820";
        text[index % text.length] = odd;
        refused(string(text));
    }

    function accepted(string memory text) private {
        vm.prank(ALICE);
        nft.setEndpoint(1, text);
        eq(nft.getEndpoint(1), text);
    }

    function refused(string memory text) private {
        vm.expectRevert(abi.encodeWithSelector(IDstackAccessNFT.InvalidEndpoint.selector, text));
        vm.prank(ALICE);
        nft.setEndpoint(1, text);
    }

    function plain(bytes1 c) private pure returns (bool) {
        return (c >= "0" && c <= ":") || (c >= "A" && c <= "Z") || (c >= "a" && c <= "z") || c == "." || c == "-"
            || c == "[" || c == "]";
    }

    function repeated(string memory symbol, uint256 times) private pure returns (string memory text) {
        bytes memory all = new bytes(times);
        for (uint256 i; i < times; ++i) {
            all[i] = bytes(symbol)[0];
        }
        return string(all);
    }

    function decimal(uint256 value) private pure returns (string memory) {
        bytes memory digit = new bytes(1);
        digit[0] = bytes1(uint8(48 + value % 10));
        return value < 10 ? string(digit) : string.concat(decimal(value / 10), string(digit));
    }
}

