import COpenSSL
import Glibc
import NIOPosix

/// The working memory that all TLS connections of one thread share, so that an idle one holds none.
///
/// It is lent for the time of one call into OpenSSL; nothing in it outlives that call.
final class TLSScratch: @unchecked Sendable {
    // Sendable by proof: an instance is reached only through `current`, hence only by the thread it belongs to.

    /// The largest plaintext of one record, in bytes. RFC 8446 §5.1.
    static let recordSize = 16_384

    private static let perThread = ThreadSpecificVariable<TLSScratch>()

    /// The calling thread's instance.
    static var current: TLSScratch {
        if let scratch = perThread.currentValue { return scratch }
        let scratch = TLSScratch()
        perThread.currentValue = scratch
        return scratch
    }

    /// What the memory BIO reads from and writes to.
    let io: UnsafeMutablePointer<copenssl_io>
    /// Room for the plaintext of one record.
    let plaintext: UnsafeMutableRawBufferPointer

    private init() {
        io = .allocate(capacity: 1)
        io.initialize(to: copenssl_io())
        plaintext = .allocate(byteCount: Self.recordSize, alignment: 16)
    }

    /// Gives back what one unusually large write made of the output.
    func trim() {
        guard io.pointee.output_size > 16 * Self.recordSize else { return }
        free(io.pointee.output)
        io.pointee.output = nil
        io.pointee.output_size = 0
    }

    deinit {
        free(io.pointee.output)
        io.deallocate()
        plaintext.deallocate()
    }
}
