// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC721Metadata} from "@openzeppelin/contracts/token/ERC721/extensions/IERC721Metadata.sol";

/// @title The access list of a dstack VPN, one ERC-721 token per machine
/// @notice Whoever owns an active token may have one WireGuard key in the network. The contract's owner grants and
/// revokes tokens and says which of them are nodes and gateways; a token's owner (its holder) says which key is theirs
/// and, for a node or gateway, where it can be dialled. Agents follow the events and keep their devices equal to them.
///
/// The life of a token: granted, then any number of key, role and endpoint changes and transfers, then revoked, which
/// is final. Ids count from 1 and are never used again; 0 is no token.
///
/// Every event follows the change that it reports at once, and no call hands control to another contract before its
/// events are out: minting makes no callback, and a safe transfer's callback comes last.
/// @dev Everything that takes a token id reverts with `ERC721NonexistentToken(tokenId)` if there is no such token, so
/// a revert of a read means exactly that. A revoked token still exists and still answers.
interface IDstackAccessNFT is IERC721Metadata {
    // --- events ------------------------------------------------------------------------------------------------

    /// @notice `owner` holds the new token `tokenId` named `nodeId`.
    /// @param wireguardPublicKey its first key, or empty if the holder has yet to register one
    event NodeAccessGranted(uint256 indexed tokenId, string nodeId, address indexed owner, string wireguardPublicKey);

    /// @notice `tokenId` gives no access any more, for ever; its key and its name are free for others.
    event NodeAccessRevoked(uint256 indexed tokenId, string nodeId);

    /// @notice `tokenId` has changed hands and has no key until `to` registers one.
    /// @dev Right after the ERC-721 `Transfer`. A transfer to the holder themselves changes nothing and has no such event.
    event NodeAccessTransferred(uint256 indexed tokenId, address indexed from, address indexed to);

    /// @notice A holder has changed the key of one of their tokens.
    /// @dev Names no token and is kept for those who know only the deployed interface; the next event says which.
    event PublicKeyUpdated(address indexed owner, string wireguardPublicKey);

    /// @notice The key of `tokenId` is `wireguardPublicKey` from here on, and the one before it is no longer theirs.
    event TokenPublicKeyUpdated(uint256 indexed tokenId, string wireguardPublicKey);

    /// @notice `tokenId` is a member (0), a node (1) or a gateway (2) from here on.
    event RoleUpdated(uint256 indexed tokenId, uint8 role);

    /// @notice `tokenId` can be dialled at `endpoint` (`host:port`) from here on; empty for nowhere.
    event EndpointUpdated(uint256 indexed tokenId, string endpoint);

    /// @notice `newOwner` may accept the ownership of the contract; the zero address withdraws an earlier offer.
    event OwnershipTransferInitiated(address indexed previousOwner, address indexed newOwner);

    // --- errors ------------------------------------------------------------------------------------------------

    /// @notice The name is not 1 to 63 characters of `a-z 0-9 -`.
    error InvalidNodeId(string nodeId);

    /// @notice The name belongs to the active token `tokenId`.
    error NodeIdTaken(string nodeId, uint256 tokenId);

    /// @notice No active token has this name.
    error UnknownNodeId(string nodeId);

    /// @notice The text is not the canonical base64 (44 characters) of 32 bytes that are not all zero.
    error InvalidPublicKey(string wireguardPublicKey);

    /// @notice The key belongs to the active token `tokenId`.
    error PublicKeyTaken(string wireguardPublicKey, uint256 tokenId);

    /// @notice The role is none of 0 (member), 1 (node) and 2 (gateway).
    error InvalidRole(uint8 role);

    /// @notice The text is neither empty nor `host:port` in the characters of host names and IP addresses.
    error InvalidEndpoint(string endpoint);

    /// @notice `tokenId` is a member's: only nodes and gateways have endpoints.
    error EndpointNotAllowed(uint256 tokenId);

    /// @notice `tokenId` was revoked: it can neither change nor move.
    error TokenRevoked(uint256 tokenId);

    /// @notice `caller` is not the holder of `tokenId`; an ERC-721 approval is not enough.
    error NotTokenOwner(uint256 tokenId, address caller);

    /// @notice The contract must have an owner: without one nobody could ever revoke again.
    error OwnershipNotRenounceable();

    // --- the contract's owner ----------------------------------------------------------------------------------

    /// @notice Grants access: mints the next token to `to`, as a member. Only for the contract's owner.
    ///
    /// A name is unique among active tokens and not for ever: the replacement of a machine takes over the name that
    /// configurations and people know it by, once the old token is revoked. It is a new token with a new id, and so
    /// has other addresses.
    ///
    /// Emits `Transfer` and `NodeAccessGranted`. Reverts with `OwnableUnauthorizedAccount`, `InvalidNodeId`,
    /// `NodeIdTaken`, `InvalidPublicKey`, `PublicKeyTaken`, or `ERC721InvalidReceiver` for the zero address.
    /// @param wireguardPublicKey the holder's key, or empty: the holder registers it with `updatePublicKey`, and the
    /// operator never has to be told it
    /// @param uri what `tokenURI(tokenId)` answers; never interpreted
    /// @return tokenId one more than the last one
    function mintNodeAccess(address to, string calldata nodeId, string calldata wireguardPublicKey, string calldata uri)
        external
        returns (uint256 tokenId);

    /// @notice Ends the access of `tokenId` for ever and frees its key and its name. Only for the contract's owner.
    ///
    /// The token stays with its last holder as a record: it cannot change, cannot be sold to somebody who takes it for
    /// access, and cannot be revived; access for the same person is a new token.
    ///
    /// Emits `NodeAccessRevoked`, then `RoleUpdated` and `EndpointUpdated` where there was a role or an endpoint to
    /// lose. Reverts with `OwnableUnauthorizedAccount`, `ERC721NonexistentToken` or `TokenRevoked`.
    function revokeNodeAccess(uint256 tokenId) external;

    /// @notice Makes `tokenId` a member (0), a node (1) or a gateway (2). Only for the contract's owner.
    ///
    /// A role is trust in a holder: a node can be dialled by everybody, a gateway carries the traffic of others. It
    /// ends with a transfer, so that it cannot be sold, and a token that becomes a member loses its endpoint.
    ///
    /// Emits `RoleUpdated`, then `EndpointUpdated` where there was an endpoint to lose. Reverts with
    /// `OwnableUnauthorizedAccount`, `InvalidRole`, `ERC721NonexistentToken` or `TokenRevoked`.
    function setRole(uint256 tokenId, uint8 role) external;

    /// @notice Offers the ownership of the contract to `newOwner`, who has it after calling `acceptOwnership()`: a
    /// mistyped address costs nothing. The zero address withdraws the offer. Only for the contract's owner.
    ///
    /// Emits OpenZeppelin's `OwnershipTransferStarted`, then `OwnershipTransferInitiated`; acceptance emits
    /// `OwnershipTransferred`. Reverts with `OwnableUnauthorizedAccount`.
    /// @dev The same as OpenZeppelin's `transferOwnership`.
    function transferContractOwnership(address newOwner) external;

    // --- the token's owner -------------------------------------------------------------------------------------

    /// @notice Registers the key of `tokenId` in place of the one it had. Only for the token's owner.
    ///
    /// Two active tokens never have one key, whoever owns them. Registering a token's own key once more is allowed.
    /// A key that was public before it was registered can be registered by another holder first; a new one costs
    /// nothing, `wg genkey`.
    ///
    /// Emits `PublicKeyUpdated` and `TokenPublicKeyUpdated`. Reverts with `ERC721NonexistentToken`, `TokenRevoked`,
    /// `NotTokenOwner`, `InvalidPublicKey` (also for an empty key) or `PublicKeyTaken`.
    function updatePublicKey(uint256 tokenId, string calldata wireguardPublicKey) external;

    /// @notice Says where the node or gateway `tokenId` can be dialled; empty for nowhere. Only for the token's owner.
    ///
    /// Members have no endpoint: they cannot become dialable, nor aim everybody's handshakes at a host.
    ///
    /// Emits `EndpointUpdated`. Reverts with `ERC721NonexistentToken`, `TokenRevoked`, `NotTokenOwner`,
    /// `EndpointNotAllowed` or `InvalidEndpoint`.
    /// @param endpoint `name:port`, `1.2.3.4:port` or `[2001:db8::1]:port`
    function setEndpoint(uint256 tokenId, string calldata endpoint) external;

    // --- reading -----------------------------------------------------------------------------------------------

    /// @notice The name, the key (empty for none), the time of the grant in seconds and whether it gives access.
    /// Reverts with `ERC721NonexistentToken`.
    function getNodeAccess(uint256 tokenId)
        external
        view
        returns (string memory nodeId, string memory wireguardPublicKey, uint256 createdAt, bool isActive);

    /// @notice Whether `user` holds the active token named `nodeId`; false where there is none.
    function hasNodeAccess(address user, string calldata nodeId) external view returns (bool);

    /// @notice The same as `hasNodeAccess`, which the deployed interface has under both names.
    function verifyAccess(address user, string calldata nodeId) external view returns (bool);

    /// @notice The active token named `nodeId`. Reverts with `UnknownNodeId`, also for the name of a revoked token.
    function getTokenIdByNodeId(string calldata nodeId) external view returns (uint256 tokenId);

    /// @notice The key of `tokenId`; empty for none. Reverts with `ERC721NonexistentToken`.
    function getPublicKeyByTokenId(uint256 tokenId) external view returns (string memory wireguardPublicKey);

    /// @notice The key that `owner` registered last, or was granted last with one; empty if that token has since been
    /// transferred or revoked, whatever other tokens `owner` has.
    /// @dev For holders of one token. Ask `getPublicKeyByTokenId` for anything that matters.
    function getPublicKeyByOwner(address owner) external view returns (string memory wireguardPublicKey);

    /// @notice 0 member, 1 node, 2 gateway. Reverts with `ERC721NonexistentToken`.
    function getRole(uint256 tokenId) external view returns (uint8 role);

    /// @notice Where `tokenId` can be dialled; empty for nowhere. Reverts with `ERC721NonexistentToken`.
    function getEndpoint(uint256 tokenId) external view returns (string memory endpoint);
}
