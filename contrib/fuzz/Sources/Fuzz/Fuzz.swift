import Glibc

/// Something that takes bytes from strangers. It must not crash, and what it promises must hold.
struct FuzzTarget: Sendable {
    let name: String
    let run: @Sendable (UnsafeRawBufferPointer) -> Void

    static let all: [FuzzTarget] = [
        .stream, .element, .address, .sasl, .hashedToken, .scramClient, .configuration, .values, .encoding,
    ]

    /// The one that `FUZZ_TARGET` names.
    static let chosen: FuzzTarget = {
        let name = getenv("FUZZ_TARGET").map { String(cString: $0) }
        guard let target = all.first(where: { $0.name == name }) else {
            print("FUZZ_TARGET must be one of:", all.map(\.name).joined(separator: " "))
            exit(2)
        }
        return target
    }()
}

/// Ends the process, so that the fuzzer keeps the input.
func require(_ condition: Bool, _ message: @autoclosure () -> String) {
    if !condition { fatalError(message()) }
}

/// libFuzzer's entry, for programs that bring a main function of their own.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

@main enum Fuzz {
    static func main() {
        _ = FuzzTarget.chosen
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        exit(
            runFuzzer(&count, &arguments) { data, count in
                FuzzTarget.chosen.run(UnsafeRawBufferPointer(start: data, count: count))
                return 0
            })
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes as text; what is no UTF-8 becomes U+FFFD.
    var text: String { String(decoding: self, as: UTF8.self) }
}
