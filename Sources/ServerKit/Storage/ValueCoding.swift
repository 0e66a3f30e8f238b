/// How the values of a store become bytes and come back.
public struct ValueCoding<Value: Sendable>: Sendable {
    public let encode: @Sendable (Value) throws -> [UInt8]
    public let decode: @Sendable ([UInt8]) throws -> Value

    public init(
        encode: @escaping @Sendable (Value) throws -> [UInt8], decode: @escaping @Sendable ([UInt8]) throws -> Value
    ) {
        self.encode = encode
        self.decode = decode
    }
}

extension ValueCoding where Value == [UInt8] {
    /// Bytes as they are: for XML on hot paths.
    public static var bytes: ValueCoding { ValueCoding(encode: { $0 }, decode: { $0 }) }
}
