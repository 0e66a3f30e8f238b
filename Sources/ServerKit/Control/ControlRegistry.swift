/// The commands that a running server takes from its administrator's tools.
@ServerActor
public final class ControlRegistry {
    private typealias Handler = @ServerActor (_ line: [UInt8]) async throws -> [UInt8]

    private var handlers: [String: Handler] = [:]

    init() {}

    /// Answers a command from now on, in the place of whoever did before.
    public func answer<Arguments, Reply>(
        _ command: ControlCommand<Arguments, Reply>, _ body: @escaping @ServerActor (Arguments) async throws -> Reply
    ) {
        handlers[command.name] = { line in
            let arguments: Arguments
            do { arguments = try ControlCoding.arguments(Arguments.self, in: line) } catch {
                throw ControlFailure("The arguments of \(command.name) cannot be understood.", exitCode: 2)
            }
            return try ControlCoding.line(ControlCoding.Answer(result: try await body(arguments)))
        }
    }

    /// Answers a command no longer.
    public func remove<Arguments, Reply>(_ command: ControlCommand<Arguments, Reply>) {
        handlers[command.name] = nil
    }

    /// The answer to one line, newline included.
    public func reply(to line: [UInt8]) async -> [UInt8] {
        let failure: ControlFailure
        do {
            guard let name = ControlCoding.command(in: line) else {
                throw ControlFailure("This is no command.", exitCode: 2)
            }
            guard let handler = handlers[name] else {
                throw ControlFailure("This server knows no command \"\(name)\".", exitCode: 2)
            }
            return try await handler(line)
        } catch let error as ControlFailure {
            failure = error
        } catch {
            failure = ControlFailure("\(error)")
        }
        let answer = ControlCoding.Answer<ControlNothing>(error: failure)
        return (try? ControlCoding.line(answer)) ?? []
    }
}

extension ModuleHost {
    /// Answers a command of the administrator's tool while the module is loaded. For modules of the scope `server`:
    /// the name of a command is the same for all hosts.
    public func controlCommand<Arguments, Reply>(
        _ command: ControlCommand<Arguments, Reply>, _ body: @escaping @ServerActor (Arguments) async throws -> Reply
    ) {
        let control = server.control
        control.answer(command, body)
        onUnload { control.remove(command) }
    }
}
