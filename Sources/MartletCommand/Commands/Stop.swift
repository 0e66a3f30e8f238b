import ArgumentParser
import ServerKit

struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End the running server, and return when it has ended.")

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        let client = try ControlClient.require(configuration)
        _ = try client.ask(.stop)
        try client.waitForEnd()
        Console.print("Stopped.")
    }
}
