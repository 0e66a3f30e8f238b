import FoundationEssentials

extension ValueCoding where Value: Codable {
    /// JSON, in which a type grows by optional fields.
    public static var json: ValueCoding {
        ValueCoding(
            encode: { value in
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                return [UInt8](try encoder.encode(value))
            },
            decode: { bytes in try JSONDecoder().decode(Value.self, from: Data(bytes)) })
    }
}
