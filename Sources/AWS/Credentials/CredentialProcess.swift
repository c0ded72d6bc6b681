import Core
import Subprocess
import SystemPackage

/// `credential_process` of a profile: a program that prints credentials
/// (AWS SDKs and Tools reference guide, "Process credential provider").
struct CredentialProcess: Sendable {
    /// Seconds that it may take.
    private static let limit = 60.0
    private static let largestOutput = 64 << 10

    let surroundings: CredentialSurroundings
    let profile: String

    /// Runs `command`, without a shell. What the program writes to its standard error is thrown away: it may hold
    /// anything.
    func run(_ command: String) async throws -> AWSCredentials {
        guard let words = Self.words(of: command), let program = words.first else {
            throw problem("its command has a quote without an end, or is empty", hint: "correct credential_process")
        }
        let output = try await output(of: program, Array(words.dropFirst()))
        do {
            var document = try CredentialsDocument(output)
            guard document.integer("Version") == 1 else {
                throw CredentialsDocumentError(description: "its 'Version' is not 1")
            }
            return try document.credentials(token: "SessionToken", needsToken: false, source: "process of \(profile)")
        } catch let error as CredentialsDocumentError {
            throw problem(
                "what the program prints holds no credentials: \(error.description)",
                hint: "run the command by hand: it has to print the JSON object that the AWS SDKs expect")
        }
    }

    private func output(of program: String, _ arguments: [String]) async throws -> [UInt8] {
        let sleep = surroundings.sleep
        let environment = surroundings.configuration.environment
        let result = try await withThrowingTaskGroup(of: Outcome?.self) { group in
            group.addTask { try await Self.execute(program, arguments, environment) }
            group.addTask {
                try await sleep(Self.limit)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        switch result {
        case .printed(let bytes): return bytes
        case .failed(let words): throw problem(words, hint: "run the command by hand, and correct credential_process")
        case nil:
            throw problem("the program took longer than \(Int(Self.limit)) s", hint: "run the command by hand")
        }
    }

    private enum Outcome: Sendable {
        case printed([UInt8])
        case failed(String)
    }

    private static func execute(
        _ program: String, _ arguments: [String], _ environment: [String: String]
    ) async throws -> Outcome {
        var options = PlatformOptions()
        options.createSession = true
        options.teardownSequence = [
            .send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .milliseconds(100))
        ]
        let variables = Dictionary(
            uniqueKeysWithValues: environment.map { (Environment.Key(stringLiteral: $0), $1) })
        do {
            let result = try await Subprocess.run(
                program.contains("/") ? .path(FilePath(program)) : .name(program), arguments: Arguments(arguments),
                environment: .custom(variables), platformOptions: options,
                output: .bytes(limit: largestOutput), error: .discarded)
            switch result.terminationStatus {
            case .exited(0): return .printed(result.standardOutput)
            case .exited(let status): return .failed("the program exited with status \(status)")
            case .signaled(let signal): return .failed("the program was ended by signal \(signal)")
            }
        } catch {
            try Task.checkCancellation()
            return .failed("the program could not be run, or printed more than \(largestOutput) bytes")
        }
    }

    private func problem(_ cause: String, hint: String) -> AWSError {
        .credentials("credential_process", resource: "profile \(profile)", cause, hint: hint)
    }

    /// As a POSIX shell splits a command, and nothing else of a shell: no variables, no patterns. `nil` where a quote
    /// has no end.
    static func words(of command: String) -> [String]? {
        var words: [String] = []
        var word: String?
        var quote: Character?
        var isEscaped = false
        for character in command {
            if isEscaped {
                // Between double quotes a backslash stands for itself before all but these.
                if quote == "\"", !"\"\\$`".contains(character) { word = (word ?? "") + "\\" }
                word = (word ?? "") + String(character)
                isEscaped = false
            } else if character == "\\", quote != "'" {
                isEscaped = true
            } else if let open = quote {
                if character == open { quote = nil } else { word = (word ?? "") + String(character) }
            } else if character == "'" || character == "\"" {
                quote = character
                word = word ?? ""
            } else if character.isWhitespace {
                if let word { words.append(word) }
                word = nil
            } else {
                word = (word ?? "") + String(character)
            }
        }
        guard quote == nil, !isEscaped else { return nil }
        if let word { words.append(word) }
        return words
    }
}
