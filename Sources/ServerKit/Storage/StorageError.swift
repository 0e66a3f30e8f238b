/// What went wrong in a store, with a sentence for the administrator that says where and what to do.
///
/// The sentence may hold paths and owners: it belongs in the log, never in a stanza.
public struct StorageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The class of a failure, for code that reacts to it.
    public enum Reason: String, Hashable, Sendable {
        /// The disk, the quota or the configured size is used up.
        case full
        /// The file, its directory or the disk cannot be written to.
        case readOnly
        /// The disk reported an error.
        case inputOutput
        /// The file is damaged.
        case corrupt
        /// The file belongs to something else.
        case notADatabase
        /// The file was written by a later version of the server.
        case newerSchema
        /// Another process serves from this file.
        case locked
        /// Stored bytes are not the value their store expects.
        case undecodable
        /// A value could not be turned into bytes.
        case unencodable
        /// The item a query starts from does not exist.
        case unknownItem
        /// The driver was closed before.
        case closed
        /// The storage engine refused for another reason.
        case refused
    }

    public let reason: Reason
    public let description: String

    public init(_ reason: Reason, _ description: String) {
        self.reason = reason
        self.description = description
    }
}

extension StorageError {
    /// The item with this id, from which a query starts, does not exist.
    public static func unknownItem(_ id: String) -> StorageError {
        StorageError(.unknownItem, "There is no item \(id).")
    }
}
