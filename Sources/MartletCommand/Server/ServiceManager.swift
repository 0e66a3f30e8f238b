import Glibc
import ServerKit

/// Tells systemd, if it started the process, how far it is: sd_notify(3), without its library.
enum ServiceManager {
    static func ready() { notify("READY=1\nSTATUS=Serving") }

    /// `ready` follows. The time stamp is what `Type=notify-reload` wants.
    static func reloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        notify("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)")
    }

    static func stopping() { notify("STOPPING=1") }

    private static func notify(_ message: String) {
        guard let name = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }) else { return }
        UnixSocket.send(Array(message.utf8), to: name)
    }
}
