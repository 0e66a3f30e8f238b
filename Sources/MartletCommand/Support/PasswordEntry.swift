import ArgumentParser
import Glibc
import ServerKit

/// Where a password comes from.
struct PasswordOptions: ParsableArguments {
    @Flag(help: "Read the password from standard input, all of it but a newline at its end.")
    var passwordStdin = false

    @Flag(help: "Make up a password and print it.")
    var generate = false

    func validate() throws {
        if passwordStdin && generate {
            throw ValidationError("--password-stdin and --generate exclude each other.")
        }
    }

    /// The password, and whether it has to be shown because nobody knows it yet.
    func password(for address: String) throws -> (text: String, isNew: Bool) {
        if generate { return (Self.generated(), true) }
        if passwordStdin { return (try Self.fromStandardInput(), false) }
        return (try PasswordPrompt.ask(for: address), false)
    }

    /// A password of 100 bits, without letters and digits that look alike.
    static func generated() -> String {
        let letters = Array("abcdefghijkmnpqrstuvwxyz23456789")
        let text = Digest.randomBytes(20).map { letters[Int($0) % letters.count] }
        return stride(from: 0, to: text.count, by: 5).map { String(text[$0..<$0 + 5]) }.joined(separator: "-")
    }

    private static func fromStandardInput() throws -> String {
        var bytes = try Files.read("-", limit: 65_536)
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandFailure("The password is not valid UTF-8.", ExitStatus.configuration)
        }
        return text
    }
}

/// Asks for a password on the terminal.
enum PasswordPrompt {
    static func ask(for address: String) throws -> String {
        let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC)
        guard terminal >= 0 else {
            throw CommandFailure(
                "There is no terminal to ask for a password; use --password-stdin or --generate.",
                ExitStatus.configuration)
        }
        defer { close(terminal) }
        let first = try line("Password for \(address): ", terminal)
        guard try line("The same again: ", terminal) == first else {
            throw CommandFailure("The passwords differ; nothing was done.")
        }
        return first
    }

    /// A line that is typed without being shown.
    private static func line(_ prompt: String, _ terminal: Int32) throws -> String {
        var saved = termios()
        guard tcgetattr(terminal, &saved) == 0 else { throw CommandFailure("The terminal does not answer.") }
        var silent = saved
        // Without signals nothing ends the program while the terminal is mute; ^C ends the line instead (VEOL).
        silent.c_lflag &= ~tcflag_t(ECHO | ISIG)
        let interrupt = silent.c_cc.0
        silent.c_cc.11 = interrupt
        tcsetattr(terminal, TCSAFLUSH, &silent)
        Console.write(prompt, to: terminal)
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while read(terminal, &byte, 1) == 1, byte != UInt8(ascii: "\n"), byte != interrupt { bytes.append(byte) }
        tcsetattr(terminal, TCSANOW, &saved)
        Console.write("\n", to: terminal)
        guard byte != interrupt else { throw CommandFailure("Interrupted; nothing was done.") }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandFailure("The password is not valid UTF-8.")
        }
        return text
    }
}
