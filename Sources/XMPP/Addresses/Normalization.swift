/// Unicode normalisation forms and width mapping, which Swift's library keeps to itself. Unicode Standard Annex #15.
enum Normalization {
    /// Normalization Form C.
    static func canonical(_ points: [UInt32]) -> [UInt32] { normalized(points, compatibility: false) }

    /// Normalization Form KC.
    static func compatibility(_ points: [UInt32]) -> [UInt32] { normalized(points, compatibility: true) }

    /// Maps fullwidth and halfwidth code points to their decomposition mappings. RFC 8264 §5.2.1.
    static func widthMapped(_ points: [UInt32]) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(points.count)
        for point in points {
            if point >= 0x3000, let entry = Decompositions.shared.entry(for: point), entry.kind == .width {
                result += Decompositions.shared.mapping(of: entry)
            } else {
                result.append(point)
            }
        }
        return result
    }

    private static func normalized(_ points: [UInt32], compatibility: Bool) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(points.count)
        for point in points { decompose(point, compatibility: compatibility, into: &result) }
        var classes = result.map { $0 < 0x300 ? 0 : UnicodeTables.properties(of: $0).combiningClass }
        order(&result, &classes)
        compose(&result, classes)
        return result
    }

    private static func decompose(_ point: UInt32, compatibility: Bool, into result: inout [UInt32]) {
        if point < 0xA0 { return result.append(point) }
        if Hangul.syllables.contains(point) { return Hangul.decompose(point, into: &result) }
        guard let entry = Decompositions.shared.entry(for: point), compatibility || entry.kind.isCanonical else {
            return result.append(point)
        }
        for part in Decompositions.shared.mapping(of: entry) {
            decompose(part, compatibility: compatibility, into: &result)
        }
    }

    /// Sorts each run of combining marks by class, keeping the order within a class. A sort, not an insertion: a run
    /// may be as long as the input.
    private static func order(_ points: inout [UInt32], _ classes: inout [UInt8]) {
        var start = 0
        while start < points.count {
            var end = start
            var isSorted = true
            while end < points.count, classes[end] != 0 {
                if end > start, classes[end] < classes[end - 1] { isSorted = false }
                end += 1
            }
            if !isSorted {
                let keys = (start..<end)
                    .map { UInt64(classes[$0]) << 56 | UInt64($0 - start) << 21 | UInt64(points[$0]) }
                    .sorted()
                for (offset, key) in keys.enumerated() {
                    points[start + offset] = UInt32(key & 0x1F_FFFF)
                    classes[start + offset] = UInt8(key >> 56)
                }
            }
            start = end + 1
        }
    }

    private static func compose(_ points: inout [UInt32], _ classes: [UInt8]) {
        var starter: Int?
        var count = 0
        var lastClass: UInt8 = 0
        for index in points.indices {
            let point = points[index]
            let pointClass = classes[index]
            if let starter, starter == count - 1 || lastClass < pointClass,
                let composite = composite(of: points[starter], point)
            {
                points[starter] = composite
                continue
            }
            if pointClass == 0 { starter = count }
            lastClass = pointClass
            points[count] = point
            count += 1
        }
        points.removeSubrange(count...)
    }

    private static func composite(of first: UInt32, _ second: UInt32) -> UInt32? {
        // No composition ends in a code point below the combining marks.
        if second < 0x300 { return nil }
        return Hangul.composite(of: first, second) ?? Decompositions.shared.composite(of: first, second)
    }
}

/// The arithmetic of Hangul syllables. The Unicode Standard §3.12.
private enum Hangul {
    static let syllables: ClosedRange<UInt32> = 0xAC00...0xD7A3
    private static let leading: Range<UInt32> = 0x1100..<0x1113
    private static let vowels: Range<UInt32> = 0x1161..<0x1176
    private static let trailing: Range<UInt32> = 0x11A8..<0x11C3

    static func decompose(_ syllable: UInt32, into result: inout [UInt32]) {
        let index = syllable - syllables.lowerBound
        result.append(leading.lowerBound + index / 588)
        result.append(vowels.lowerBound + index % 588 / 28)
        if index % 28 != 0 { result.append(trailing.lowerBound + index % 28 - 1) }
    }

    static func composite(of first: UInt32, _ second: UInt32) -> UInt32? {
        if leading.contains(first), vowels.contains(second) {
            return syllables.lowerBound
                + ((first - leading.lowerBound) * 21 + second - vowels.lowerBound) * 28
        }
        if syllables.contains(first), (first - syllables.lowerBound) % 28 == 0, trailing.contains(second) {
            return first + second - trailing.lowerBound + 1
        }
        return nil
    }
}

/// The decomposition mappings of the Unicode Character Database and the compositions that follow from them.
private struct Decompositions {
    static let shared = Decompositions()

    enum Kind: UInt32 {
        /// Composed again by Form C.
        case canonical
        /// Not composed again: singletons, non-starters and composition exclusions.
        case canonicalOnly
        case compatibility
        /// Marked `<wide>` or `<narrow>`.
        case width

        var isCanonical: Bool { self == .canonical || self == .canonicalOnly }
    }

    struct Entry {
        let point: UInt32
        let offset: UInt16
        let count: UInt8
        let kind: Kind
    }

    private var entries: [Entry] = []
    private var mappings: [UInt32] = []
    /// First, second and composite, 21 bits each, in ascending order.
    private var compositions: [UInt64] = []

    private init() {
        var reader = NumberReader(UnicodeTables.decompositionMappings)
        var point: UInt32 = 0
        var base: Int32 = 0
        while let distance = reader.next(), let header = reader.next() {
            point += distance
            let offset = mappings.count
            var previous = base
            for _ in 0...(header >> 2) {
                let zigzag = reader.next() ?? 0
                previous += Int32(zigzag >> 1) ^ -Int32(zigzag & 1)
                mappings.append(UInt32(previous))
            }
            base = Int32(mappings[offset])
            let kind = Kind(rawValue: header & 3) ?? .compatibility
            entries.append(
                Entry(point: point, offset: UInt16(offset), count: UInt8(mappings.count - offset), kind: kind))
            if kind == .canonical {
                compositions.append(Self.key(mappings[offset], mappings[offset + 1]) | UInt64(point))
            }
        }
        compositions.sort()
    }

    func entry(for point: UInt32) -> Entry? {
        let index = Self.lowerBound(entries) { $0.point < point }
        return index < entries.count && entries[index].point == point ? entries[index] : nil
    }

    func mapping(of entry: Entry) -> ArraySlice<UInt32> {
        mappings[Int(entry.offset)..<Int(entry.offset) + Int(entry.count)]
    }

    func composite(of first: UInt32, _ second: UInt32) -> UInt32? {
        let key = Self.key(first, second)
        let index = Self.lowerBound(compositions) { $0 < key }
        guard index < compositions.count, compositions[index] >> 21 == key >> 21 else { return nil }
        return UInt32(compositions[index] & 0x1F_FFFF)
    }

    private static func key(_ first: UInt32, _ second: UInt32) -> UInt64 {
        UInt64(first) << 42 | UInt64(second) << 21
    }

    private static func lowerBound<Element>(_ sorted: [Element], where isBefore: (Element) -> Bool) -> Int {
        var low = 0
        var high = sorted.count
        while low < high {
            let middle = (low + high) / 2
            if isBefore(sorted[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
