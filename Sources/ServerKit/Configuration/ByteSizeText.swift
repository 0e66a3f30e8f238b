/// Sizes in bytes as administrators write them: `100 MB`, `3 GB`, `512 KiB`, `4096`.
enum ByteSizeText {
    private static let units: [(name: String, bytes: Int)] = [
        ("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000),
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ]

    /// Reads a whole number with or without a unit; nil when it is anything else or does not fit.
    static func parse(_ text: String) -> Int? {
        var rest = Substring(text.lowercased())
        guard let (count, unit) = numberAndUnit(&rest), rest.isEmpty else { return nil }
        if ["", "b", "byte", "bytes"].contains(unit) { return count }
        guard let size = units.first(where: { $0.name.lowercased() == unit || $0.name.lowercased() == unit + "b" })
        else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: size.bytes)
        return overflow ? nil : product
    }

    /// The size in the unit that divides it and leaves the shortest number.
    static func write(_ bytes: Int) -> String {
        guard bytes > 0 else { return "\(bytes)" }
        let counts = units.filter { bytes.isMultiple(of: $0.bytes) }.map { (count: bytes / $0.bytes, name: $0.name) }
        guard let shortest = counts.min(by: { $0.count < $1.count }) else { return "\(bytes)" }
        return "\(shortest.count) \(shortest.name)"
    }
}
