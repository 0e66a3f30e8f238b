/// How many connections there are from each network, for limits by address.
@ServerActor
public struct ConnectionCounts {
    private var counts: [PeerNetwork: Int] = [:]

    public nonisolated init() {}

    /// Counts a connection, unless there are as many as there may be. One without an IP address is not counted.
    public mutating func add(_ network: PeerNetwork?, limit: Int) -> Bool {
        guard let network else { return true }
        guard counts[network, default: 0] < limit else { return false }
        counts[network, default: 0] += 1
        return true
    }

    /// Counts it no longer.
    public mutating func remove(_ network: PeerNetwork?) {
        guard let network else { return }
        let count = counts[network, default: 1] - 1
        counts[network] = count > 0 ? count : nil
    }
}
