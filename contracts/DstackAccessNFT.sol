// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC721Metadata} from "@openzeppelin/contracts/token/ERC721/extensions/IERC721Metadata.sol";
import {Format} from "./Format.sol";
import {IDstackAccessNFT} from "./IDstackAccessNFT.sol";
import {NO_KEY, PublicKey, parsePublicKey} from "./PublicKey.sol";

/// @title DstackAccessNFT
/// @dev `IDstackAccessNFT` says what everything does and why.
contract DstackAccessNFT is IDstackAccessNFT, ERC721, Ownable2Step {
    struct Access {
        PublicKey key;
        uint64 createdAt;
        bool isActive;
        uint8 role;
        string nodeId;
        string endpoint;
        string uri;
    }

    uint8 private constant MEMBER = 0;
    uint8 private constant GATEWAY = 2;

    uint256 private _lastTokenId;
    mapping(uint256 tokenId => Access) private _access;
    /// @dev Active tokens only, as is `_tokenOfKey`.
    mapping(string nodeId => uint256 tokenId) private _tokenOfNodeId;
    mapping(PublicKey key => uint256 tokenId) private _tokenOfKey;
    mapping(address owner => uint256 tokenId) private _lastKeyedTokenOf;

    constructor() ERC721("dstack access", "DSTACK") Ownable(msg.sender) {}

    // --- the contract's owner ----------------------------------------------------------------------------------

    /// @inheritdoc IDstackAccessNFT
    function mintNodeAccess(address to, string calldata nodeId, string calldata wireguardPublicKey, string calldata uri)
        external
        onlyOwner
        returns (uint256 tokenId)
    {
        if (!Format.isNodeId(nodeId)) revert InvalidNodeId(nodeId);
        uint256 namesake = _tokenOfNodeId[nodeId];
        if (namesake != 0) revert NodeIdTaken(nodeId, namesake);

        tokenId = ++_lastTokenId;
        Access storage access = _access[tokenId];
        access.createdAt = uint64(block.timestamp);
        access.isActive = true;
        access.nodeId = nodeId;
        access.uri = uri;
        _tokenOfNodeId[nodeId] = tokenId;
        if (bytes(wireguardPublicKey).length != 0) _registerKey(tokenId, access, to, wireguardPublicKey);

        // Not _safeMint: its callback could transfer the token before the grant is logged.
        _mint(to, tokenId);
        emit NodeAccessGranted(tokenId, nodeId, to, wireguardPublicKey);
    }

    /// @inheritdoc IDstackAccessNFT
    function revokeNodeAccess(uint256 tokenId) external onlyOwner {
        Access storage access = _activeAccess(tokenId);
        access.isActive = false;
        delete _tokenOfNodeId[access.nodeId];
        _dropKey(access);
        emit NodeAccessRevoked(tokenId, access.nodeId);
        _dropRole(tokenId, access);
    }

    /// @inheritdoc IDstackAccessNFT
    function setRole(uint256 tokenId, uint8 role) external onlyOwner {
        if (role > GATEWAY) revert InvalidRole(role);
        _assignRole(tokenId, _activeAccess(tokenId), role);
    }

    /// @inheritdoc IDstackAccessNFT
    function transferContractOwnership(address newOwner) external {
        transferOwnership(newOwner);
    }

    function transferOwnership(address newOwner) public override onlyOwner {
        super.transferOwnership(newOwner);
        emit OwnershipTransferInitiated(owner(), newOwner);
    }

    function renounceOwnership() public pure override {
        revert OwnershipNotRenounceable();
    }

    // --- the token's owner -------------------------------------------------------------------------------------

    /// @inheritdoc IDstackAccessNFT
    function updatePublicKey(uint256 tokenId, string calldata wireguardPublicKey) external {
        Access storage access = _activeAccessOfCaller(tokenId);
        _registerKey(tokenId, access, msg.sender, wireguardPublicKey);
        emit PublicKeyUpdated(msg.sender, wireguardPublicKey);
        emit TokenPublicKeyUpdated(tokenId, wireguardPublicKey);
    }

    /// @inheritdoc IDstackAccessNFT
    function setEndpoint(uint256 tokenId, string calldata endpoint) external {
        Access storage access = _activeAccessOfCaller(tokenId);
        if (access.role == MEMBER) revert EndpointNotAllowed(tokenId);
        if (bytes(endpoint).length != 0 && !Format.isEndpoint(endpoint)) revert InvalidEndpoint(endpoint);
        access.endpoint = endpoint;
        emit EndpointUpdated(tokenId, endpoint);
    }

    /// @dev The one way a token moves. The trust and the key were the seller's, so neither goes to the buyer.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        from = super._update(to, tokenId, auth);
        if (from == address(0)) return from; // a mint

        Access storage access = _activeAccess(tokenId);
        if (from == to) return from;
        _dropKey(access);
        emit NodeAccessTransferred(tokenId, from, to);
        _dropRole(tokenId, access);
    }

    // --- reading -----------------------------------------------------------------------------------------------

    /// @inheritdoc IDstackAccessNFT
    function getNodeAccess(uint256 tokenId)
        external
        view
        returns (string memory nodeId, string memory wireguardPublicKey, uint256 createdAt, bool isActive)
    {
        Access storage access = _knownAccess(tokenId);
        return (access.nodeId, access.key.toText(), access.createdAt, access.isActive);
    }

    /// @inheritdoc IDstackAccessNFT
    function hasNodeAccess(address user, string calldata nodeId) public view returns (bool) {
        uint256 tokenId = _tokenOfNodeId[nodeId];
        return tokenId != 0 && _ownerOf(tokenId) == user;
    }

    /// @inheritdoc IDstackAccessNFT
    function verifyAccess(address user, string calldata nodeId) external view returns (bool) {
        return hasNodeAccess(user, nodeId);
    }

    /// @inheritdoc IDstackAccessNFT
    function getTokenIdByNodeId(string calldata nodeId) external view returns (uint256 tokenId) {
        tokenId = _tokenOfNodeId[nodeId];
        if (tokenId == 0) revert UnknownNodeId(nodeId);
    }

    /// @inheritdoc IDstackAccessNFT
    function getPublicKeyByTokenId(uint256 tokenId) external view returns (string memory wireguardPublicKey) {
        return _knownAccess(tokenId).key.toText();
    }

    /// @inheritdoc IDstackAccessNFT
    function getPublicKeyByOwner(address owner_) external view returns (string memory wireguardPublicKey) {
        uint256 tokenId = _lastKeyedTokenOf[owner_];
        if (_ownerOf(tokenId) == owner_) return _access[tokenId].key.toText();
    }

    /// @inheritdoc IDstackAccessNFT
    function getRole(uint256 tokenId) external view returns (uint8 role) {
        return _knownAccess(tokenId).role;
    }

    /// @inheritdoc IDstackAccessNFT
    function getEndpoint(uint256 tokenId) external view returns (string memory endpoint) {
        return _knownAccess(tokenId).endpoint;
    }

    /// @inheritdoc IERC721Metadata
    function tokenURI(uint256 tokenId) public view override(ERC721, IERC721Metadata) returns (string memory) {
        return _knownAccess(tokenId).uri;
    }

    // --- the parts ---------------------------------------------------------------------------------------------

    function _registerKey(uint256 tokenId, Access storage access, address holder, string calldata text) private {
        PublicKey key = parsePublicKey(text);
        if (key.isNone()) revert InvalidPublicKey(text);
        uint256 claimant = _tokenOfKey[key];
        if (claimant != 0 && claimant != tokenId) revert PublicKeyTaken(text, claimant);

        _dropKey(access);
        access.key = key;
        _tokenOfKey[key] = tokenId;
        _lastKeyedTokenOf[holder] = tokenId;
    }

    function _dropKey(Access storage access) private {
        delete _tokenOfKey[access.key];
        access.key = NO_KEY;
    }

    function _dropRole(uint256 tokenId, Access storage access) private {
        if (access.role != MEMBER) _assignRole(tokenId, access, MEMBER);
    }

    function _assignRole(uint256 tokenId, Access storage access, uint8 role) private {
        access.role = role;
        emit RoleUpdated(tokenId, role);
        if (role == MEMBER && bytes(access.endpoint).length != 0) {
            delete access.endpoint;
            emit EndpointUpdated(tokenId, "");
        }
    }

    function _knownAccess(uint256 tokenId) private view returns (Access storage) {
        _requireOwned(tokenId);
        return _access[tokenId];
    }

    function _activeAccess(uint256 tokenId) private view returns (Access storage access) {
        access = _knownAccess(tokenId);
        if (!access.isActive) revert TokenRevoked(tokenId);
    }

    function _activeAccessOfCaller(uint256 tokenId) private view returns (Access storage access) {
        access = _activeAccess(tokenId);
        if (_ownerOf(tokenId) != msg.sender) revert NotTokenOwner(tokenId, msg.sender);
    }
}
