// Writes without end and prints the number of every durable write, until it is killed. The parent then looks whether
// each printed one is there.
import Glibc
import ServerKit
import StorageSQLite

/// Enough to be killed long before the end.
private func write(count: Int, to path: String) throws {
    let storage = Storage(try SQLiteStorageDriver(path: path))
    let archive = storage.rawArchive("crash", on: "example.org")
    let value = [UInt8](repeating: 0x78, count: 500)
    for number in 1...count {
        let line = "\(number)\n"
        let item = NewArchiveItem(id: String(number), time: Int64(number), with: "peer\(number % 7)", value: value)
        storage.onCommit(archive.append(item, to: "romeo@example.org")) { error in
            guard error == nil else { exit(1) }
            _ = line.withCString { Glibc.write(STDOUT_FILENO, $0, strlen($0)) }
        }
        usleep(50)
    }
}

guard CommandLine.arguments.count == 2 else {
    print("usage: storage-crash <database>")
    exit(64)
}
try write(count: 1_000_000, to: CommandLine.arguments[1])
