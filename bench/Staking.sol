// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What a service node network needs of a contract at least: balances that move, nodes that are
/// registered with a part of their stake, and contributions of others until they are full.
contract Staking {
    uint256 public constant REQUIREMENT = 100 ether;
    uint256 public constant OPERATOR_SHARE = 25 ether;
    uint256 public constant MAX_CONTRIBUTORS = 10;

    struct Node {
        address operator;
        uint16 fee;
        uint8 contributors;
        uint256 staked;
    }

    mapping(address => uint256) public balances;
    mapping(bytes32 => Node) public nodes;
    mapping(bytes32 => mapping(address => uint256)) public contributions;

    event Transferred(address indexed sender, address indexed recipient, uint256 amount);
    event Registered(bytes32 indexed node, address indexed operator);
    event Contributed(bytes32 indexed node, address indexed contributor, uint256 amount);

    /// The faucet of the benchmark.
    function fund(address[] calldata accounts, uint256 each) external {
        for (uint256 i = 0; i < accounts.length; ++i) {
            balances[accounts[i]] += each;
        }
    }

    function transfer(address recipient, uint256 amount) external {
        require(amount > 0, "amount zero");
        balances[msg.sender] -= amount;
        balances[recipient] += amount;
        emit Transferred(msg.sender, recipient, amount);
    }

    function register(bytes32 node, uint16 fee, uint256 stake) external {
        require(nodes[node].operator == address(0), "node exists");
        require(stake >= OPERATOR_SHARE && stake <= REQUIREMENT, "stake out of range");
        balances[msg.sender] -= stake;
        nodes[node] = Node(msg.sender, fee, 1, stake);
        contributions[node][msg.sender] = stake;
        emit Registered(node, msg.sender);
    }

    function contribute(bytes32 node, uint256 amount) external {
        Node storage found = nodes[node];
        require(found.operator != address(0), "unknown node");
        require(found.contributors < MAX_CONTRIBUTORS, "too many places");
        require(found.staked + amount <= REQUIREMENT, "stake too large");
        balances[msg.sender] -= amount;
        found.staked += amount;
        found.contributors += 1;
        contributions[node][msg.sender] += amount;
        emit Contributed(node, msg.sender, amount);
    }
}
