import Glibc

/// Memory that only starting needed.
enum StartUpMemory {
    /// Gives back the mapped pages of code that has done its work: reading the configuration, loading modules,
    /// opening ports. Code that is needed again is mapped again from the page cache.
    static func release() {
        guard let maps = fopen("/proc/self/maps", "r") else { return }
        defer { fclose(maps) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        while getline(&line, &capacity, maps) > 0, let current = line {
            let text = String(cString: current)
            // Code of files, which is never written to: `7f..-7f.. r-xp offset device inode /path`.
            let fields = text.split(separator: " ", omittingEmptySubsequences: true)
            guard fields.count >= 6, fields[1] == "r-xp", fields[5].hasPrefix("/") else { continue }
            let bounds = fields[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            guard bounds.count == 2, bounds[1] > bounds[0] else { continue }
            madvise(UnsafeMutableRawPointer(bitPattern: bounds[0]), Int(bounds[1] - bounds[0]), MADV_DONTNEED)
        }
    }
}
