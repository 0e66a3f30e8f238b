import ArgumentParser
import ServerKit

struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the running server read configuration and certificates again.",
        discussion: """
            Clients stay connected. With anything wrong in the new configuration the running one is kept, and the \
            exit code is 2.
            """)

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        let reply = try ControlClient.require(configuration).ask(.reload)
        for note in reply.notes { Console.complain(note) }
        Console.print("Reloaded.")
    }
}
