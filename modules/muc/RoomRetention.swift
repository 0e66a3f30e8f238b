import ServerKit

/// Removes what was said too long ago: longer than the service keeps it, or a room's owners want it kept.
struct RoomRetention: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let cleanup = ArchiveCleanup(host, rooms.stores.archive, rounds: "room-archive-cleanup")
        cleanup.register {
            ArchiveCleanup.Plan(hour: rooms.options.cleanupHour, retention: rooms.options.retention)
        } after: {
            try await rooms.removeForOwners(cleanup)
            for room in rooms.loaded.values { room.forgetOldHistory() }
        }
    }
}

extension Rooms {
    /// Rooms whose owners want less kept. Few do, and who they are is not stored apart from their settings: looking at
    /// every room with an archive once a day costs little.
    fileprivate func removeForOwners(_ cleanup: ArchiveCleanup) async throws {
        var after: String?
        repeat {
            let names = try await stores.archive.owners(after: after, limit: 100)
            for name in names {
                let room = loaded[name]
                let stored = room == nil ? try await stores.rooms.value(for: name)?.settings : nil
                guard let days = (loaded[name]?.settings ?? stored)?.retentionDays else { continue }
                try await cleanup.remove(olderThan: .days(days), of: name)
            }
            if !names.isEmpty { await cleanup.pause() }
            after = names.last
        } while after != nil && !cleanup.isStopped
    }
}

extension Room {
    /// How long what is said here is kept; nil for ever.
    var retention: Duration? {
        let own = settings.retentionDays.map { Duration.days($0) }
        guard let own, let other = service.options.retention else { return own ?? service.options.retention }
        return min(own, other)
    }

    fileprivate func forgetOldHistory() {
        guard let retention else { return }
        history.remove(before: service.host.clock.date.advanced(by: .zero - retention))
    }
}
