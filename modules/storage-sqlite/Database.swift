import CSQLite
import ServerKit

/// A connection to a database. Not thread-safe: each belongs to the thread that works with it.
final class Database {
    enum Mode {
        case readWrite
        case readOnly
    }

    let path: String
    private let handle: OpaquePointer
    private var statements: [String: Statement] = [:]

    init(_ path: String, _ mode: Mode) throws(StorageError) {
        let access = mode == .readWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY
        var handle: OpaquePointer?
        let code = sqlite3_open_v2(path, &handle, access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, nil)
        guard code == SQLITE_OK, let handle else {
            defer { sqlite3_close_v2(handle) }
            throw .sqlite(handle.map { sqlite3_extended_errcode($0) } ?? code, handle, path)
        }
        sqlite3_extended_result_codes(handle, 1)
        self.handle = handle
        self.path = path
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement.handle) }
        sqlite3_close_v2(handle)
    }

    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    /// Rows changed by the last statement.
    var changes: Int64 { sqlite3_changes64(handle) }

    var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

    /// Runs statements without parameters and without a place in the cache.
    func execute(_ sql: String) throws(StorageError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code) }
    }

    /// Runs a statement that returns no rows. Statements are prepared once: `sql` must not contain values.
    func run(_ sql: String, _ values: Binding...) throws(StorageError) {
        try each(sql, values) { _ in false }
    }

    /// The first row of a result.
    func first<Value>(_ sql: String, _ values: Binding..., row: (Row) -> Value) throws(StorageError) -> Value? {
        var result: Value?
        try each(sql, values) {
            result = row($0)
            return false
        }
        return result
    }

    /// All rows of a result.
    func all<Value>(_ sql: String, _ values: [Binding], row: (Row) -> Value) throws(StorageError) -> [Value] {
        var result: [Value] = []
        try each(sql, values) {
            result.append(row($0))
            return true
        }
        return result
    }

    /// Calls `row` with the rows of a result until it returns false.
    func each(_ sql: String, _ values: [Binding], _ row: (Row) -> Bool) throws(StorageError) {
        let statement = try prepare(sql)
        defer {
            sqlite3_reset(statement.handle)
            sqlite3_clear_bindings(statement.handle)
        }
        for (index, value) in values.enumerated() {
            let code = value.bind(to: statement.handle, at: Int32(index + 1))
            guard code == SQLITE_OK else { throw error(code) }
        }
        while true {
            switch sqlite3_step(statement.handle) {
            case SQLITE_ROW: if !row(Row(handle: statement.handle)) { return }
            case SQLITE_DONE: return
            case let code: throw error(code)
            }
        }
    }

    private func prepare(_ sql: String) throws(StorageError) -> Statement {
        if let statement = statements[sql] { return statement }
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(self.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle else { throw error(code) }
        let statement = Statement(handle: handle)
        statements[sql] = statement
        return statement
    }

    private func error(_ code: Int32) -> StorageError {
        .sqlite(code, handle, path)
    }

    private struct Statement {
        let handle: OpaquePointer
    }
}

/// A value for a parameter of a statement.
enum Binding {
    case integer(Int64)
    case text(String)
    case blob([UInt8])

    fileprivate func bind(to statement: OpaquePointer, at index: Int32) -> Int32 {
        switch self {
        case .integer(let value):
            return sqlite3_bind_int64(statement, index, value)
        case .text(var text):
            return text.withUTF8 { bytes in
                guard let length = Int32(exactly: bytes.count) else { return SQLITE_TOOBIG }
                return bytes.withMemoryRebound(to: CChar.self) {
                    // A null pointer would bind NULL.
                    length == 0
                        ? martlet_sqlite_bind_text(statement, index, "", 0)
                        : martlet_sqlite_bind_text(statement, index, $0.baseAddress, length)
                }
            }
        case .blob(let blob):
            return blob.withUnsafeBytes { bytes in
                guard let length = Int32(exactly: bytes.count) else { return SQLITE_TOOBIG }
                return length == 0
                    ? sqlite3_bind_zeroblob(statement, index, 0)
                    : martlet_sqlite_bind_blob(statement, index, bytes.baseAddress, length)
            }
        }
    }
}

/// The current row of a statement. Columns count from 0.
struct Row {
    fileprivate let handle: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func optionalInteger(_ column: Int32) -> Int64? {
        sqlite3_column_type(handle, column) == SQLITE_NULL ? nil : sqlite3_column_int64(handle, column)
    }

    func text(_ column: Int32) -> String {
        guard let bytes = sqlite3_column_text(handle, column) else { return "" }
        let count = Int(sqlite3_column_bytes(handle, column))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }

    func blob(_ column: Int32) -> [UInt8] {
        guard let bytes = sqlite3_column_blob(handle, column) else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(handle, column))))
    }
}

extension StorageError {
    /// Puts a result code of SQLite into words that say what to do.
    static func sqlite(_ code: Int32, _ handle: OpaquePointer?, _ path: String) -> StorageError {
        let detail = handle.flatMap { sqlite3_errmsg($0) } ?? sqlite3_errstr(code)
        let text = detail.map { String(cString: $0) } ?? "error \(code)"
        return switch code & 0xFF {
        case SQLITE_FULL:
            StorageError(.full, "\(path): no space left (\(text)). Free some, or move data_directory.")
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
            StorageError(.readOnly, "\(path): cannot be written to (\(text)). Check owner, mode and mount.")
        case SQLITE_CANTOPEN:
            StorageError(.readOnly, "\(path): cannot be opened (\(text)). Check that its directory can be written to.")
        case SQLITE_IOERR:
            StorageError(.inputOutput, "\(path): the disk reported an error (\(text), code \(code)). Check the disk.")
        case SQLITE_CORRUPT:
            StorageError(.corrupt, "\(path): the database is damaged (\(text)). Restore it from a backup.")
        case SQLITE_NOTADB:
            StorageError(.notADatabase, "\(path): this is not an SQLite database. Move the file away.")
        case SQLITE_BUSY, SQLITE_LOCKED:
            StorageError(.locked, "\(path): another program holds the database (\(text)). End it.")
        default:
            StorageError(.refused, "\(path): \(text) (code \(code)).")
        }
    }
}
