// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";

/// @title An access list with the deployed interface and nothing else, for the agent's tests
/// @dev It shares no code with DstackAccessNFT and none of its care: names and keys are any bytes at all, need not be
/// unique and survive a transfer; a key update names an owner and no token; minting calls the receiver back before the
/// grant is logged; a revoked token moves on; ERC-4906 events stand between those that matter.
contract PlainAccessNFT is ERC721URIStorage, Ownable {
    struct NodeAccess {
        string nodeId;
        string wireguardPublicKey;
        uint256 createdAt;
        bool isActive;
    }

    event NodeAccessGranted(uint256 indexed tokenId, string nodeId, address indexed owner, string wireguardPublicKey);
    event NodeAccessRevoked(uint256 indexed tokenId, string nodeId);
    event NodeAccessTransferred(uint256 indexed tokenId, address indexed from, address indexed to);
    event PublicKeyUpdated(address indexed owner, string wireguardPublicKey);
    event OwnershipTransferInitiated(address indexed previousOwner, address indexed newOwner);

    uint256 private _nextTokenId = 1;
    mapping(uint256 tokenId => NodeAccess) private _nodes;
    mapping(string nodeId => uint256 tokenId) private _tokenOfNodeId;
    mapping(address owner => uint256 tokenId) private _latestTokenOf;

    constructor() ERC721("Plain access", "PLAIN") Ownable(msg.sender) {}

    function mintNodeAccess(address to, string memory nodeId, string memory wireguardPublicKey, string memory tokenURI_)
        external
        onlyOwner
        returns (uint256 tokenId)
    {
        tokenId = _nextTokenId++;
        _nodes[tokenId] = NodeAccess(nodeId, wireguardPublicKey, block.timestamp, true);
        _tokenOfNodeId[nodeId] = tokenId;
        _safeMint(to, tokenId);
        _setTokenURI(tokenId, tokenURI_);
        emit NodeAccessGranted(tokenId, nodeId, to, wireguardPublicKey);
    }

    function revokeNodeAccess(uint256 tokenId) external onlyOwner {
        _requireOwned(tokenId);
        _nodes[tokenId].isActive = false;
        emit NodeAccessRevoked(tokenId, _nodes[tokenId].nodeId);
    }

    /// @dev Of the token that the caller was granted or sent last. The interface does not say which.
    function updatePublicKey(string memory wireguardPublicKey) external {
        uint256 tokenId = _latestTokenOf[msg.sender];
        require(_ownerOf(tokenId) == msg.sender, "no token");
        _nodes[tokenId].wireguardPublicKey = wireguardPublicKey;
        emit PublicKeyUpdated(msg.sender, wireguardPublicKey);
    }

    function transferContractOwnership(address newOwner) external onlyOwner {
        emit OwnershipTransferInitiated(owner(), newOwner);
        _transferOwnership(newOwner);
    }

    /// @dev Not of the interface: lets a test mint any id, from 0 to 2^256 - 2.
    function setNextTokenId(uint256 tokenId) external onlyOwner {
        _nextTokenId = tokenId;
    }

    function getNodeAccess(uint256 tokenId)
        external
        view
        returns (string memory nodeId, string memory wireguardPublicKey, uint256 createdAt, bool isActive)
    {
        _requireOwned(tokenId);
        NodeAccess storage node = _nodes[tokenId];
        return (node.nodeId, node.wireguardPublicKey, node.createdAt, node.isActive);
    }

    function hasNodeAccess(address user, string memory nodeId) public view returns (bool) {
        uint256 tokenId = _tokenOfNodeId[nodeId];
        return _nodes[tokenId].isActive && _ownerOf(tokenId) == user;
    }

    function verifyAccess(address user, string memory nodeId) external view returns (bool) {
        return hasNodeAccess(user, nodeId);
    }

    function getTokenIdByNodeId(string memory nodeId) external view returns (uint256) {
        return _tokenOfNodeId[nodeId];
    }

    function getPublicKeyByOwner(address owner_) external view returns (string memory) {
        uint256 tokenId = _latestTokenOf[owner_];
        return _ownerOf(tokenId) == owner_ ? _nodes[tokenId].wireguardPublicKey : "";
    }

    function getPublicKeyByTokenId(uint256 tokenId) external view returns (string memory) {
        _requireOwned(tokenId);
        return _nodes[tokenId].wireguardPublicKey;
    }

    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        from = super._update(to, tokenId, auth);
        _latestTokenOf[to] = tokenId;
        if (from == address(0)) return from;
        if (from != to) delete _latestTokenOf[from];
        emit NodeAccessTransferred(tokenId, from, to);
    }
}
