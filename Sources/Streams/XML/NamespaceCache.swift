import XMPP

/// The namespaces behind the strings of a parser's dictionary, by address: libxml2 keeps each name once, for as long as
/// the parser lives.
struct NamespaceCache {
    private var recent: [(address: UnsafePointer<UInt8>, namespace: Namespace)] = []
    private var all: [UnsafePointer<UInt8>: Namespace] = [:]

    /// The namespace whose name stands at `address`.
    mutating func namespace(at address: UnsafePointer<UInt8>) -> Namespace {
        for entry in recent where entry.address == address { return entry.namespace }
        let namespace = all[address] ?? Namespace(String(cString: address))
        all[address] = namespace
        if recent.count < 16 {
            recent.append((address, namespace))
        } else {
            recent[all.count % 16] = (address, namespace)
        }
        return namespace
    }
}
