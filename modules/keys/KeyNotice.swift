import ServerKit

/// What the owner of an account is told about its keys.
struct KeyNotice {
    let subject: String
    let body: String

    static func added(_ devices: [String], by publisher: JID, to account: JID, at time: String) -> KeyNotice {
        let (subject, verb) = devices.count == 1 ? ("A new device", "was") : ("New devices", "were")
        let who =
            if publisher.bare != account { publisher.description } else {
                publisher.resourcepart.map { "your client \"\($0)\"" } ?? "the server"
            }
        return KeyNotice(
            subject: "\(subject) for your encrypted messages",
            body: """
                \(subject) \(verb) added to your account for encrypted messages (OMEMO): \
                \(devices.joined(separator: ", ")). \(who.first?.uppercased() ?? "")\(who.dropFirst()) did that at \
                \(time). Messages that you are sent from now on can be read there. If that was not you, remove \
                \(devices.count == 1 ? "the device" : "the devices") in your client and change your password.
                """)
    }

    static func keyless(_ devices: [String]) -> KeyNotice {
        let isOne = devices.count == 1
        return KeyNotice(
            subject: "\(isOne ? "A device" : "Devices") without keys",
            body: """
                \(isOne ? "Your device" : "Your devices") \(devices.joined(separator: ", ")) \(isOne ? "has" : "have") \
                published no keys, so that nobody can begin to write encrypted messages (OMEMO) to \
                \(isOne ? "it" : "them"). Open the client there once; \(isOne ? "a device" : "devices") that you no \
                longer use should be removed in your client.
                """)
    }
}
