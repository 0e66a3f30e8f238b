import Glibc
import ServerKit
import StorageMemory
import StorageSQLite

/// Opens the storage that a configuration names.
enum OpenStorage {
    /// - Throws: a ``StorageError`` that says what to do, or a ``CommandFailure``.
    static func open(
        _ configuration: ServerConfiguration, onFailure: @escaping @Sendable (StorageError) -> Void = { _ in }
    ) throws -> Storage {
        guard configuration.storage == "sqlite" else { return Storage(MemoryStorageDriver(), onFailure: onFailure) }
        try Files.makeDirectory(configuration.dataDirectory)
        var options = SQLiteStorageDriver.Options()
        options.durability = configuration.durability == .full ? .full : .relaxed
        let driver = try SQLiteStorageDriver(path: configuration.dataDirectory + "/martlet.sqlite", options: options)
        return Storage(driver, onFailure: onFailure)
    }

    /// Opens it for a tool, whose files the server must be able to open later: root becomes whoever owns the data.
    static func openAsOwner(_ configuration: ServerConfiguration) throws -> Storage {
        if geteuid() == 0, let owner = Files.owner(of: configuration.dataDirectory), owner.user != 0 {
            guard setegid(owner.group) == 0, seteuid(owner.user) == 0 else {
                throw CommandFailure("The owner of \(configuration.dataDirectory) cannot be impersonated.")
            }
        }
        guard configuration.storage != "memory" else {
            throw CommandFailure(
                "With \"storage: memory\" there are no accounts but those of a running server.", ExitStatus.notRunning)
        }
        return try open(configuration)
    }
}
