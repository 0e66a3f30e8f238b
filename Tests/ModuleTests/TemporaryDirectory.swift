import Glibc
import Testing

/// A directory that goes away with the files in it.
func withDirectory(_ body: (String) async throws -> Void) async throws {
    var template = Array("/tmp/martlet-modules-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer {
        for suffix in ["", "-wal", "-shm", ".lock"] { unlink(path + "/test.sqlite" + suffix) }
        rmdir(path)
    }
    try await body(path)
}
