import ServerKit

/// The tables, and how older ones become today's.
///
/// Packed keys keep rows of one owner side by side without a second tree:
/// `value.key` = store << 40 | owner, and `item.key` = archive << 36 | sequence.
enum Schema {
    /// Marks our files ("MART"), in the header where `file` and others look.
    static let applicationID: Int64 = 0x4D41_5254

    /// Each step leads from the version that is its index to the next. Released steps never change.
    static let migrations = [
        """
        CREATE TABLE store (
            id INTEGER PRIMARY KEY, host TEXT NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL,
            UNIQUE (host, name, kind)) STRICT;
        CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
        CREATE TABLE value (key INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
        CREATE TABLE entry (
            store INTEGER NOT NULL, owner INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY (store, owner, key)) STRICT, WITHOUT ROWID;
        CREATE INDEX entry_key ON entry (store, key);
        -- store and owner are NULL while the items of a deleted archive wait for their removal.
        -- floor: no item up to this sequence number may be numbered again. removed: how many of the numbers up to the
        -- last are free. oldest: a lower bound of the items' times. newest, disorder: written when an item is older
        -- than one before it; the latest time so far, and the longest step back.
        CREATE TABLE archive (
            id INTEGER PRIMARY KEY, store INTEGER REFERENCES store (id), owner INTEGER,
            floor INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0,
            oldest INTEGER, newest INTEGER, disorder INTEGER NOT NULL DEFAULT 0,
            UNIQUE (store, owner)) STRICT;
        CREATE INDEX archive_oldest ON archive (store, oldest);
        CREATE TABLE item (
            key INTEGER PRIMARY KEY, archive INTEGER NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL,
            peer TEXT NOT NULL, value BLOB NOT NULL) STRICT;
        CREATE UNIQUE INDEX item_id ON item (archive, id);
        CREATE INDEX item_peer ON item (archive, peer) WHERE peer <> '';
        """,
        // Ids in the order of time, as those of messages are, come to stand at the end of the one index, whatever
        // archives they are in: a page that many rows share, where each archive had a page of its own to write.
        """
        DROP INDEX item_id;
        CREATE UNIQUE INDEX item_id ON item (id, archive);
        """,
    ]

    /// Made when the first text is to be found: whoever never searches pays neither for the tables nor for the trigger,
    /// which keeps the index in step with every removal. It holds the texts, since one without them could not remove
    /// them; its row numbers are the keys of the items.
    static let textIndex = """
        CREATE VIRTUAL TABLE IF NOT EXISTS item_text USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2');
        CREATE TRIGGER IF NOT EXISTS item_text_delete AFTER DELETE ON item BEGIN
            DELETE FROM item_text WHERE rowid = old.key;
        END;
        """
    static let hasTextIndex = "SELECT 1 FROM sqlite_schema WHERE name = 'item_text_delete'"

    /// Brings a database up to date, each step in a transaction of its own.
    static func migrate(_ database: Database, _ migrations: [String] = migrations) throws(StorageError) {
        let version = try database.first("PRAGMA user_version") { Int($0.integer(0)) } ?? 0
        let application = try database.first("PRAGMA application_id") { $0.integer(0) } ?? 0
        let tables = try database.first("SELECT count(*) FROM sqlite_schema") { $0.integer(0) } ?? 0
        if application != applicationID, application != 0 || version != 0 || tables != 0 {
            throw StorageError(
                .notADatabase, "\(database.path): this database belongs to another program. Move the file away.")
        }
        guard version <= migrations.count else {
            throw StorageError(
                .newerSchema,
                "\(database.path): written by a later version of the server (schema \(version), this one knows "
                    + "\(migrations.count)). Run that version, or restore the backup from before the upgrade.")
        }
        guard version >= 0 else {
            throw StorageError(.corrupt, "\(database.path): schema \(version) does not exist. Restore a backup.")
        }
        for step in version..<migrations.count {
            try database.execute(
                """
                BEGIN IMMEDIATE;
                PRAGMA application_id = \(applicationID);
                \(migrations[step])
                PRAGMA user_version = \(step + 1);
                COMMIT;
                """)
        }
    }
}

/// How stores, owners and sequence numbers share a 64-bit key.
enum PackedKey {
    static let maximumStore: Int64 = (1 << 23) - 1
    static let maximumOwner: Int64 = (1 << 40) - 1
    static let maximumArchive: Int64 = (1 << 27) - 1
    static let maximumSequence: Int64 = (1 << 36) - 1

    static func value(store: Int64, owner: Int64) -> Int64 { store << 40 | owner }
    static func values(of store: Int64) -> ClosedRange<Int64> { (store << 40)...(store << 40 | maximumOwner) }

    static func item(archive: Int64, sequence: Int64) -> Int64 { archive << 36 | sequence }
    static func items(of archive: Int64) -> ClosedRange<Int64> {
        (archive << 36)...(archive << 36 | maximumSequence)
    }
    static func sequence(of item: Int64) -> Int64 { item & maximumSequence }

    /// A sequence number from outside, brought into the range of keys.
    static func item(archive: Int64, clamping sequence: Int64) -> Int64 {
        item(archive: archive, sequence: min(max(0, sequence), maximumSequence))
    }
}
